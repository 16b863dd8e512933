//! What a biller says of a bill, without the customer's code: the customer's id stands in its place. Pure.
//!
//! Bills are shared by all who have linked their customer, so that nothing in them can be sealed under the key of one citizen. Billers
//! like to make references out of the code; whoever has linked the customer gets them as the biller said them.

use serde_json::Value;

use super::CustomerId;

/// The text with the id in place of the code.
pub(super) fn hide(text: &str, (customer, code): (CustomerId, &str)) -> String {
    text.replace(code, &customer.to_string())
}

/// The text as the biller said it.
pub(crate) fn show(text: &str, (customer, code): (CustomerId, &str)) -> String {
    text.replace(&customer.to_string(), code)
}

/// The text with an asterisk in place of the code, where no id fits. Nobody reads it as the biller said it.
pub(super) fn strike(text: &str, code: &str) -> String {
    text.replace(code, "*")
}

/// [`hide`] in every text of a value.
pub(super) fn hide_in(value: Value, whose: (CustomerId, &str)) -> Value {
    each_text(value, &|text| hide(text, whose))
}

/// [`show`] in every text of a value.
pub(crate) fn show_in(value: Value, whose: (CustomerId, &str)) -> Value {
    each_text(value, &|text| show(text, whose))
}

/// How deep a value is nested is bounded by whoever read it from JSON.
fn each_text(value: Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(&text)),
        Value::Array(items) => items.into_iter().map(|item| each_text(item, change)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, field)| (change(&name), each_text(field, change))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn customer(number: u128) -> CustomerId {
        CustomerId::from(Uuid::from_u128(number))
    }

    #[test]
    fn a_reference_made_of_the_code_has_the_id_instead() {
        let whose = (customer(7), "PC12345678901");
        let hidden = hide("PCHUE-PC12345678901-2025-11", whose);
        assert_eq!(hidden, "PCHUE-00000000-0000-0000-0000-000000000007-2025-11");
        assert_eq!(show(&hidden, whose), "PCHUE-PC12345678901-2025-11");
        assert_ne!(hidden, hide("PCHUE-PC12345678901-2025-11", (customer(8), "PC12345678901")));
    }

    #[test]
    fn a_period_made_of_the_code_has_an_asterisk_instead() {
        assert_eq!(strike("2025-11", "PC12345678901"), "2025-11");
        assert_eq!(strike("HW12345678 11/25", "HW12345678"), "* 11/25");
    }

    #[test]
    fn texts_of_details_are_changed_wherever_they_are_and_numbers_are_not() {
        let whose = (customer(7), "12345");
        let details = json!({"usage": 12345, "of 12345": ["12345", {"customer": "số 12345"}, null, true]});
        let hidden = hide_in(details.clone(), whose);
        assert_eq!(hidden["usage"], 12345);
        assert!(!hidden.to_string().replace(":12345", "").contains("12345"), "{hidden}");
        assert_eq!(show_in(hidden, whose), details);
    }

    proptest! {
        /// Whatever a biller says, citizens read it as it said it, and what is stored has the code nowhere.
        #[test]
        fn what_is_hidden_is_shown_again(
            code in "[A-Z]{1,3}[0-9]{4,11}",
            parts in proptest::collection::vec("[A-Z0-9a-zđư /-]{0,8}", 1..6),
            number in any::<u128>(),
        ) {
            // Ids begin with letters here, so that no code comes about where one is put in.
            let whose = (customer(number | 0xffff << 112), code.as_str());
            let said = parts.join(&code);
            let hidden = hide(&said, whose);
            prop_assert!(!hidden.contains(&code));
            prop_assert_eq!(show(&hidden, whose), said);
        }
    }
}
