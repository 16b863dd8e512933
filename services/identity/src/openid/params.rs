//! Parameters of OAuth requests, from a query or a form (`application/x-www-form-urlencoded`). Pure.
//!
//! RFC 6749, section 3.1: one without a value counts as absent, an unknown one is ignored, and none comes twice.

use url::form_urlencoded;

use super::fault::Fault;

/// The most parameters that are looked at.
const MAX_PARAMETERS: usize = 64;
/// The most bytes of all of them.
const MAX_BYTES: usize = 16 * 1024;

/// Names and values in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads an encoded query or form.
    pub(crate) fn parse(encoded: &[u8]) -> Result<Self, Fault> {
        if encoded.len() > MAX_BYTES {
            return Err(Fault::request("the request is too long"));
        }
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(encoded).into_owned().take(MAX_PARAMETERS + 1).collect();
        if pairs.len() > MAX_PARAMETERS {
            return Err(Fault::request("too many parameters"));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, Fault> {
        let mut values = self.0.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let value = values.next().filter(|value| !value.is_empty());
        if values.next().is_some() { Err(Fault::request("a parameter came more than once")) } else { Ok(value) }
    }

    /// The value of a parameter that must be there; `says` is what the client is told when it is not.
    pub(crate) fn required(&self, name: &str, says: &'static str) -> Result<&str, Fault> {
        self.one(name)?.ok_or(Fault::request(says))
    }
}

/// Adds parameters to a URI that may have a query already.
pub(crate) fn with_params(uri: &str, params: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    let joint = match uri.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    format!("{uri}{joint}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_empty_and_unknown_parameters() {
        let params = Params::parse(b"a=1&b=&c=x&c=y&unknown=%00&d=a+b%2Bc").expect("a form");
        assert_eq!(params.one("a"), Ok(Some("1")));
        assert_eq!((params.one("b"), params.one("z")), (Ok(None), Ok(None)));
        assert_eq!(params.one("d"), Ok(Some("a b+c")));
        assert!(params.one("c").is_err());
        assert!(Params::parse("a=1&".repeat(65).as_bytes()).is_err());
        assert!(Params::parse("a".repeat(MAX_BYTES + 1).as_bytes()).is_err());
    }

    #[test]
    fn a_uri_keeps_the_query_that_it_has() {
        assert_eq!(with_params("https://a.example/cb", &[("code", "x y")]), "https://a.example/cb?code=x+y");
        assert_eq!(with_params("https://a.example/cb?k=v", &[("s", "&")]), "https://a.example/cb?k=v&s=%26");
        assert_eq!(with_params("vn.hue.app:/cb", &[("a", "1"), ("b", "2")]), "vn.hue.app:/cb?a=1&b=2");
    }
}
