//! Identifiers: UUIDv7 values behind typed newtypes.

use uuid::Uuid;

/// A new time-ordered identifier (UUIDv7, RFC 9562).
pub fn new() -> Uuid {
    Uuid::now_v7()
}

/// Declares newtypes over [`Uuid`] so that identifiers of different things can't be mixed up.
///
/// ```
/// platform::typed_id! {
///     /// One till of a store.
///     pub struct TillId;
/// }
/// let id = TillId::generate();
/// assert_eq!(id.to_string().parse::<TillId>().unwrap(), id);
/// ```
#[macro_export]
macro_rules! typed_id {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident;)+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, $crate::id::reexport::serde::Serialize,
            $crate::id::reexport::serde::Deserialize, $crate::id::reexport::sqlx::Type, $crate::id::reexport::utoipa::ToSchema)]
        #[serde(transparent, crate = "platform::id::reexport::serde")]
        #[sqlx(transparent)]
        #[schema(value_type = String, format = Uuid)]
        $vis struct $name($crate::id::reexport::uuid::Uuid);

        impl $name {
            /// A new time-ordered identifier.
            $vis fn generate() -> Self { Self($crate::id::new()) }
            /// The bare UUID.
            $vis fn uuid(self) -> $crate::id::reexport::uuid::Uuid { self.0 }
        }
        impl From<$crate::id::reexport::uuid::Uuid> for $name {
            fn from(id: $crate::id::reexport::uuid::Uuid) -> Self { Self(id) }
        }
        impl From<$name> for $crate::id::reexport::uuid::Uuid {
            fn from(id: $name) -> Self { id.0 }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { self.0.fmt(formatter) }
        }
        impl std::str::FromStr for $name {
            type Err = $crate::id::reexport::uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> { text.parse().map(Self) }
        }
    )+};
}

/// What [`typed_id!`](crate::typed_id) expands to; not for direct use.
#[doc(hidden)]
pub mod reexport {
    pub use {serde, sqlx, utoipa, uuid};
}
