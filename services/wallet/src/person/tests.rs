//! What the wallet hands over: every table that names a citizen, and statements that run.

use ledger::SCHEMA as LEDGER;
use platform::db::PlatformTables;
use platform::embedded::scratch;
use platform::person::{page_of, unlisted};
use uuid::Uuid;

use super::sections::SECTIONS;
use crate::{MIGRATOR, SCHEMA};

#[tokio::test]
async fn no_table_that_names_a_citizen_is_forgotten() {
    let parts = [(LEDGER, &ledger::MIGRATOR, PlatformTables::NotWanted), (SCHEMA, &MIGRATOR, PlatformTables::Wanted)];
    let database = scratch::database(&parts).await.expect("PostgreSQL is installed");
    let elsewhere = [
        ("payment.merchant_owner_user_id", "the shop's side of what others paid: its statements"),
        ("refund.refunder_user_id", "what the shop gave back, from the journal of its account: refunds_made"),
        ("proposal.subject", "a payment or a top-up"),
        ("proposal.proposed_by", "what an officer did for the city: the audit has it"),
        ("proposal.decided_by", "the same"),
        ("closing.user_id", "only while the account is being closed: identity shows it"),
    ];
    let missing = unlisted(&database.admin_pool(), SCHEMA, SECTIONS, &elsewhere).await.expect("columns");
    assert_eq!(missing, Vec::<String>::new(), "in no section");
    let pool = database.pool(SCHEMA);
    let mut connection = pool.acquire().await.expect("a connection");
    for section in SECTIONS {
        for after in [None, Some("00000000000000000001")] {
            let page = page_of(&mut connection, None, section, (Uuid::now_v7(), after)).await;
            assert_eq!(page.expect(section.name).len(), 0, "{}", section.name);
        }
    }
}
