//! Texts that people give, parsed at the edge so that nothing inside has to check them again.

use serde::{Deserialize, Serialize};

/// A text for people: trimmed, 1 to `MAX` characters, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Label<const MAX: usize>(String);

impl<const MAX: usize> Label<MAX> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<String> for Label<MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.chars().count() > MAX {
            return Err(format!("must have 1 to {MAX} characters"));
        }
        if trimmed.chars().any(char::is_control) {
            return Err("must not have control characters".to_owned());
        }
        Ok(Self(trimmed.to_owned()))
    }
}

impl<const MAX: usize> From<Label<MAX>> for String {
    fn from(label: Label<MAX>) -> Self {
        label.0
    }
}

/// A merchant category of ISO 18245: four digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Category(String);

impl Category {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Category {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text))
        } else {
            Err("must be four digits")
        }
    }
}

impl From<Category> for String {
    fn from(category: Category) -> Self {
        category.0
    }
}

/// An account number at a bank: 6 to 19 digits or upper-case letters.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct BankAccount(String);

impl BankAccount {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Hides the number: logs never carry it.
impl std::fmt::Debug for BankAccount {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("BankAccount(…)")
    }
}

impl TryFrom<String> for BankAccount {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let fits = (6..=19).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        if fits { Ok(Self(text)) } else { Err("must be 6 to 19 digits or upper-case letters") }
    }
}

impl From<BankAccount> for String {
    fn from(account: BankAccount) -> Self {
        account.0
    }
}

#[cfg(test)]
mod tests {
    use super::{BankAccount, Category, Label};

    #[test]
    fn labels_are_trimmed_and_bounded() {
        assert_eq!(Label::<5>::try_from("  Huế ".to_owned()).map(String::from), Ok("Huế".to_owned()));
        assert!(Label::<5>::try_from("ngàn ngàn".to_owned()).is_err());
        assert!(Label::<5>::try_from(" ".to_owned()).is_err());
        assert!(Label::<5>::try_from("a\u{0}b".to_owned()).is_err());
    }

    #[test]
    fn codes_have_their_form() {
        assert!(Category::try_from("5814".to_owned()).is_ok());
        assert!(Category::try_from("٥٨١٤".to_owned()).is_err());
        assert!(BankAccount::try_from("1000000001".to_owned()).is_ok());
        assert!(BankAccount::try_from("1".repeat(20)).is_err());
        assert_eq!(format!("{:?}", BankAccount::try_from("1000000001".to_owned())), "Ok(BankAccount(…))");
    }
}
