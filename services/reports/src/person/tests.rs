//! What field reports hand over: every table that names a citizen, and statements that run.

use platform::embedded::scratch;
use platform::person::{page_of, unlisted};
use uuid::Uuid;

use super::copy::SECTIONS;
use crate::{MIGRATOR, SCHEMA};

#[tokio::test]
async fn no_table_that_names_a_citizen_is_forgotten() {
    let database = scratch::database(&[(SCHEMA, &MIGRATOR)]).await.expect("PostgreSQL is installed");
    let elsewhere = [
        ("reporter.user_id", "what they sent is in lists of its own"),
        ("officer.user_id", "who acts for the city now: identity's roles"),
        ("history.officer_id", "what an officer did for the city"),
        ("appointment.by_officer", "what an officer did for the city"),
    ];
    let missing = unlisted(&database.admin_pool(), SCHEMA, SECTIONS, &elsewhere).await.expect("columns");
    assert_eq!(missing, Vec::<String>::new(), "in no section");
    let pool = database.pool(SCHEMA);
    let mut connection = pool.acquire().await.expect("a connection");
    for section in SECTIONS {
        for after in [None, Some("a")] {
            let page = page_of(&mut connection, None, section, (Uuid::now_v7(), after)).await;
            assert_eq!(page.expect(section.name).len(), 0, "{}", section.name);
        }
    }
}
