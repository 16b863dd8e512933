//! The public HTTP side: extractors with problem rejections, the layers around every route, the server loop.
//!
//! Order of the layers, outermost first: trace and language → panic guard → deadline → body limit → token verifier → routes.
//! Everything has a limit: connections, header time, body size, handling time.

mod cookie;
mod extract;
mod idempotent;
mod language;
mod layers;
mod machine;
mod serve;

pub use cookie::Cookie;
pub use extract::{Json, JsonValue, Path, Query};
pub use idempotent::{IdempotencyKey, IdempotentJson};
pub use language::Language;
pub use layers::{HttpSettings, finish, instrument, scoped};
pub use machine::{Machines, is_machine};
pub use serve::{ServeSettings, serve};

/// Marks requests that came in on the process's internal listener; an `Extension` of that listener's router.
///
/// Who can reach that listener is inside the network, whatever headers say.
#[derive(Clone, Copy, Debug)]
pub struct Internal;

/// A router that gathers its OpenAPI description from the handlers.
pub type ApiRouter<S = ()> = utoipa_axum::router::OpenApiRouter<S>;
