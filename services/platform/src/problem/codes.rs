//! The codes that any route may answer. A service's own codes live in its `error.rs`.

use super::Code;

/// Something on our side broke.
pub const INTERNAL: Code = Code::new("internal", 500, "Hệ thống gặp lỗi", "Something broke on our side");
/// A part of the system is away; the same request may succeed later.
pub const UNAVAILABLE: Code = Code::new(
    "unavailable",
    503,
    "Tạm thời chưa phục vụ được, vui lòng thử lại",
    "Temporarily unavailable, please try again",
);
/// The request took too long.
pub const TIMEOUT: Code =
    Code::new("timeout", 503, "Yêu cầu xử lý quá lâu, vui lòng thử lại", "The request took too long, please try again");
/// More requests than can be served now.
pub const OVERLOADED: Code = Code::new(
    "overloaded",
    503,
    "Hệ thống đang quá tải, vui lòng thử lại sau",
    "Too busy right now, please try again later",
);
/// No such thing, or it is not the caller's.
pub const NOT_FOUND: Code = Code::new("not-found", 404, "Không tìm thấy", "Not found");
/// The path exists, the method does not.
pub const METHOD_NOT_ALLOWED: Code =
    Code::new("method-not-allowed", 405, "Phương thức không được hỗ trợ", "Method not allowed");
/// No valid access token came with the request.
pub const UNAUTHENTICATED: Code = Code::new("unauthenticated", 401, "Bạn cần đăng nhập", "You need to sign in");
/// The caller is known and may not do this.
pub const FORBIDDEN: Code = Code::new("forbidden", 403, "Bạn không có quyền thực hiện việc này", "You may not do this");
/// The body is not well-formed JSON in UTF-8.
pub const MALFORMED_JSON: Code =
    Code::new("malformed-json", 400, "Nội dung gửi lên không phải JSON hợp lệ", "The body is not valid JSON");
/// The body is JSON but not what the route takes.
pub const INVALID_BODY: Code = Code::new("invalid-body", 422, "Nội dung gửi lên không hợp lệ", "The body is not valid");
/// The body is not of a media type that the route takes.
pub const UNSUPPORTED_MEDIA_TYPE: Code =
    Code::new("unsupported-media-type", 415, "Kiểu nội dung không được hỗ trợ", "Unsupported media type");
/// The body is larger than the route takes.
pub const BODY_TOO_LARGE: Code = Code::new("body-too-large", 413, "Nội dung gửi lên quá lớn", "The body is too large");
/// A query parameter is unknown or not valid.
pub const INVALID_QUERY: Code =
    Code::new("invalid-query", 400, "Tham số truy vấn không hợp lệ", "A query parameter is not valid");
/// A header is not valid.
pub const INVALID_HEADER: Code =
    Code::new("invalid-header", 400, "Tiêu đề yêu cầu không hợp lệ", "A header is not valid");
/// The route needs an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_MISSING: Code =
    Code::new("idempotency-key-missing", 400, "Thiếu tiêu đề Idempotency-Key", "The Idempotency-Key header is missing");
/// The key was used for another request.
pub const IDEMPOTENCY_KEY_REUSED: Code = Code::new(
    "idempotency-key-reused",
    422,
    "Idempotency-Key đã dùng cho một yêu cầu khác",
    "The Idempotency-Key was used for another request",
);
/// A request with the same key is still running.
pub const IN_PROGRESS: Code = Code::new(
    "in-progress",
    409,
    "Yêu cầu trước với cùng khóa đang được xử lý",
    "The earlier request with this key is still running",
);
/// The thing was changed since the client read it.
pub const PRECONDITION_FAILED: Code = Code::new(
    "precondition-failed",
    412,
    "Dữ liệu đã thay đổi, vui lòng tải lại",
    "It was changed meanwhile, please load it again",
);
/// The route needs `If-Match`.
pub const PRECONDITION_REQUIRED: Code =
    Code::new("precondition-required", 428, "Thiếu tiêu đề If-Match", "The If-Match header is missing");
/// Too many requests of this kind.
pub const TOO_MANY_REQUESTS: Code = Code::new(
    "too-many-requests",
    429,
    "Bạn thao tác quá nhanh, vui lòng thử lại sau",
    "Too many requests, please try again later",
);

/// The token is good, and does not open this (RFC 6750, section 3.1); `scope` says what would.
pub const INSUFFICIENT_SCOPE: Code = Code::new(
    "insufficient-scope",
    403,
    "Phiên này không mở được chức năng này, hãy dùng ứng dụng của thành phố",
    "This session does not open this, please use the city's app",
);

/// All codes of this file, for the documentation.
pub const ALL: &[Code] = &[
    INTERNAL,
    UNAVAILABLE,
    TIMEOUT,
    OVERLOADED,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    UNAUTHENTICATED,
    FORBIDDEN,
    INSUFFICIENT_SCOPE,
    MALFORMED_JSON,
    INVALID_BODY,
    UNSUPPORTED_MEDIA_TYPE,
    BODY_TOO_LARGE,
    INVALID_QUERY,
    INVALID_HEADER,
    IDEMPOTENCY_KEY_MISSING,
    IDEMPOTENCY_KEY_REUSED,
    IN_PROGRESS,
    PRECONDITION_FAILED,
    PRECONDITION_REQUIRED,
    TOO_MANY_REQUESTS,
];
