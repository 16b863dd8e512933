//! Cursor pagination: `?limit=&cursor=` → `{"items":[…],"next_cursor":…}`.
//!
//! A cursor is opaque to clients; it holds the sort key of the last item, so that pages stay right while rows arrive.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::{INVALID_QUERY, Problem};

/// The most items one page holds.
pub const MAX_PAGE: u16 = 200;
/// The items of a page whose size was not asked for.
pub const DEFAULT_PAGE: u16 = 50;
/// The longest cursor accepted, in characters.
const MAX_CURSOR: usize = 512;

/// Which page a client asks for.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items wanted, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u16>,
    /// `next_cursor` of the page before; absent for the first page.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// How many items to return.
    ///
    /// # Errors
    /// `invalid-query` when the limit is 0 or above [`MAX_PAGE`].
    pub fn limit(&self) -> Result<i64, Problem> {
        match self.limit {
            None => Ok(i64::from(DEFAULT_PAGE)),
            Some(limit @ 1..=MAX_PAGE) => Ok(i64::from(limit)),
            Some(_) => Err(Problem::new(INVALID_QUERY).detail("limit phải từ 1 đến 200.", "limit must be 1 to 200.")),
        }
    }

    /// The sort key after which the page begins; `None` for the first page.
    ///
    /// # Errors
    /// `invalid-query` when the cursor is not one of ours.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let bytes = (cursor.len() <= MAX_CURSOR).then(|| URL_SAFE_NO_PAD.decode(cursor).ok()).flatten();
        match bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            Some(key) => Ok(Some(key)),
            None => Err(Problem::new(INVALID_QUERY).detail(
                "cursor không hợp lệ; hãy bắt đầu lại từ trang đầu.",
                "cursor is not valid; start again from the first page.",
            )),
        }
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// The cursor of the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of `limit` items from up to `limit + 1` that were read; `key` gives an item's sort key.
    pub fn from_rows<K: Serialize>(mut items: Vec<T>, limit: i64, key: impl Fn(&T) -> K) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::from(MAX_PAGE));
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| more).map(|last| encode(&key(last)));
        Self { items, next_cursor }
    }

    /// Turns every item into another.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next_cursor: self.next_cursor }
    }
}

fn encode(key: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).expect("sort keys serialise to JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_without_gap_or_overlap() {
        let rows: Vec<i64> = (0..10).collect();
        let page = Page::from_rows(rows[0..4].to_vec(), 3, |row| *row);
        assert_eq!(page.items, [0, 1, 2]);
        let query = PageQuery { limit: Some(3), cursor: page.next_cursor };
        assert_eq!(query.after::<i64>().expect("our own cursor"), Some(2));
        assert!(Page::from_rows(rows[7..10].to_vec(), 3, |row| *row).next_cursor.is_none());
    }

    #[test]
    fn a_foreign_cursor_is_refused() {
        for cursor in ["!", "AAAA", &"A".repeat(600)] {
            let query = PageQuery { limit: None, cursor: Some(cursor.to_owned()) };
            assert!(query.after::<i64>().is_err(), "{cursor}");
        }
    }
}
