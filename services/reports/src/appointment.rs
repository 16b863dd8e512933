//! Who was made an officer here before identity gave the roles. Nothing of it counts any more.
//!
//! `trangtien admin adopt-officers` reads it once and has identity give the same roles.

use sqlx::PgPool;
use uuid::Uuid;

/// Somebody who was appointed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appointed {
    /// The person, by identity's id.
    pub user_id: Uuid,
    /// `ioc`, `supervisor` or `agency`.
    pub role: String,
    /// Code of the agency, for an officer of one.
    pub agency: Option<String>,
}

impl Appointed {
    /// The role that identity gives for it.
    pub fn role_name(&self) -> String {
        match (self.role.as_str(), &self.agency) {
            ("supervisor", _) => "ioc.lead".to_owned(),
            ("agency", Some(code)) => format!("agency.officer:{code}"),
            _ => "ioc.operator".to_owned(),
        }
    }
}

/// All who were appointed, oldest appointment first.
///
/// # Errors
/// What the database answered.
pub async fn appointed(pool: &PgPool) -> Result<Vec<Appointed>, sqlx::Error> {
    sqlx::query_as!(Appointed, "SELECT user_id, role, agency FROM reports.officer ORDER BY appointed_at, user_id")
        .fetch_all(pool)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_appointment_has_its_role() {
        let name = |role: &str, agency: Option<&str>| {
            let agency = agency.map(str::to_owned);
            Appointed { user_id: Uuid::nil(), role: role.to_owned(), agency }.role_name()
        };
        assert_eq!(name("supervisor", None), "ioc.lead");
        assert_eq!(name("ioc", None), "ioc.operator");
        assert_eq!(name("agency", Some("HEPCO")), "agency.officer:HEPCO");
    }
}
