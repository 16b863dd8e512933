//! What else a category asks: typed attributes, from `report-attributes.csv`; and whether answers fit.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use platform::dataset::{Fault, read_csv_faults};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Category, Name};

const FILE: &str = "report-attributes.csv";
/// Characters that a text attribute may have.
const MAX_TEXT: usize = 200;
/// The largest number that an attribute may be.
const MAX_NUMBER: f64 = 1e9;

/// What an attribute holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttributeKind {
    /// A text of at most 200 characters.
    Text,
    /// A number, not negative.
    Number,
    /// One of its choices.
    Choice,
    /// True or false.
    Flag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Required {
    Yes,
    No,
}

/// One attribute of a category's form.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// Its stable code.
    pub code: String,
    /// What it asks.
    pub name: Name,
    /// What it holds.
    pub kind: AttributeKind,
    /// Whether it must be answered.
    pub required: bool,
    /// What can be chosen: code and name.
    pub choices: Vec<(String, Name)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    category: String,
    code: String,
    name_vi: String,
    name_en: String,
    kind: AttributeKind,
    required: Required,
    choices: String,
}

/// What is wrong with one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Code of the attribute.
    pub attribute: String,
    /// In a few words, Vietnamese and English.
    pub reason: (&'static str, &'static str),
}

/// Whether answers fit a form.
///
/// # Errors
/// The first that does not, in the form's order; unknown ones last.
pub fn check(form: &[Attribute], answers: &BTreeMap<String, Value>) -> Result<(), Misfit> {
    let misfit = |attribute: &str, vi, en| Err(Misfit { attribute: attribute.to_owned(), reason: (vi, en) });
    for attribute in form {
        match answers.get(&attribute.code) {
            None if attribute.required => return misfit(&attribute.code, "còn thiếu", "is missing"),
            Some(value) if !attribute.takes(value) => return misfit(&attribute.code, "không hợp lệ", "does not fit"),
            _ => {}
        }
    }
    match answers.keys().find(|code| !form.iter().any(|attribute| attribute.code == **code)) {
        Some(code) => misfit(code, "không có trong biểu mẫu", "is not in the category's form"),
        None => Ok(()),
    }
}

/// Whether an answer is in somebody's own words: a text, and none of the choices that the form gives.
pub(crate) fn is_words(form: &[Attribute], code: &str, answer: &Value) -> bool {
    let is_choice = |one: &Attribute| one.code == code && one.kind == AttributeKind::Choice && one.takes(answer);
    !matches!(answer, Value::Null | Value::Bool(_) | Value::Number(_)) && !form.iter().any(is_choice)
}

impl Attribute {
    fn takes(&self, value: &Value) -> bool {
        match (self.kind, value) {
            (AttributeKind::Text, Value::String(text)) => {
                !text.trim().is_empty() && text.chars().count() <= MAX_TEXT && !text.chars().any(char::is_control)
            }
            (AttributeKind::Number, Value::Number(number)) => {
                number.as_f64().is_some_and(|number| (0.0..=MAX_NUMBER).contains(&number))
            }
            (AttributeKind::Choice, Value::String(code)) => self.choices.iter().any(|(choice, _)| choice == code),
            (AttributeKind::Flag, Value::Bool(_)) => true,
            _ => false,
        }
    }
}

pub(super) fn read(dir: &Path, categories: &mut [Category], faults: &mut Vec<Fault>) {
    let path = dir.join(FILE);
    let (rows, mut found) = read_csv_faults::<Row>(&path);
    let mut seen = HashSet::new();
    for (line, row) in rows {
        let mut fault = |message: String| found.push(Fault::new(&path, line, message));
        let plain = row.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if row.code.is_empty() || !plain {
            fault(format!("code {:?} is not small letters, digits and _", row.code));
        }
        if row.name_vi.trim().is_empty() || row.name_en.trim().is_empty() {
            fault("a name is missing".to_owned());
        }
        if !seen.insert((row.category.clone(), row.code.clone())) {
            fault(format!("attribute {} of {} stands twice", row.code, row.category));
        }
        let choices = choices(&row.choices);
        if choices.as_ref().is_none_or(|choices| choices.is_empty() == (row.kind == AttributeKind::Choice)) {
            fault("choices are code=Vietnamese|English, joined by ;, and stand with kind choice only".to_owned());
        }
        let Some(category) = categories.iter_mut().find(|category| category.code == row.category) else {
            fault(format!("category {} is not in report-categories.csv", row.category));
            continue;
        };
        category.form.push(Attribute {
            code: row.code,
            name: Name { vi: row.name_vi, en: row.name_en },
            kind: row.kind,
            required: row.required == Required::Yes,
            choices: choices.unwrap_or_default(),
        });
    }
    faults.append(&mut found);
}

fn choices(text: &str) -> Option<Vec<(String, Name)>> {
    let choice = |text: &str| {
        let (code, names) = text.split_once('=')?;
        let (vi, en) = names.split_once('|')?;
        let name = Name { vi: vi.trim().to_owned(), en: en.trim().to_owned() };
        let whole = !code.trim().is_empty() && !name.vi.is_empty() && !name.en.is_empty();
        whole.then(|| (code.trim().to_owned(), name))
    };
    text.split(';').filter(|text| !text.trim().is_empty()).map(choice).collect()
}
