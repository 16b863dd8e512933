//! The public HTTP side: extractors with problem rejections, the layers around every route, the server loop.
//!
//! Everything has a limit: connections, header time, body size, handling time.

mod cookie;
mod edge;
mod extract;
mod idempotent;
mod internal;
mod language;
mod linger;
mod machine;
mod measure;
mod serve;
mod stream;

pub use cookie::Cookie;
pub use edge::{HttpSettings, finish, scoped};
pub use extract::{Json, JsonValue, Path, Query};
pub use idempotent::{IdempotencyKey, IdempotentJson};
pub use internal::Internal;
pub use language::Language;
pub use machine::{Machines, is_machine};
pub use measure::instrument;
pub use serve::{ServeSettings, serve};

/// A router that gathers its OpenAPI description from the handlers.
pub type ApiRouter<S = ()> = utoipa_axum::router::OpenApiRouter<S>;
