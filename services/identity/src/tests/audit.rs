//! The audit: every act has its record, no record is changed unseen, nobody is named.

use chrono::{TimeDelta, Utc};
use futures::future::join_all;
use platform::auth::Principal;

use crate::audit::{
    self, Action, Behest, Fault, Filter, OperatorAct, Origin, Record, Tip, Verdict, append_operator_act, verify,
};
use crate::citizen::{DisplayName, Edit};
use crate::device::DeviceId;
use crate::error::Error;
use crate::pin::Proof;
use crate::pin::strength::Pin;
use crate::session::Opening;
use crate::testing::{Stage, config, opening};
use crate::{SCHEMA, Urgency};

const PHONE: &str = "0912345678";

impl Stage {
    async fn records(&self, filter: Filter) -> Vec<Record> {
        audit::page(&self.identity.pool, &filter, 0).await.expect("records")
    }

    async fn broken(&self, kept: Option<&Tip>) -> Option<Fault> {
        match verify(&self.identity.pool, kept).await.expect("a verdict") {
            Verdict::Holds(_) => None,
            Verdict::Broken(fault) => Some(fault),
        }
    }

    async fn tip(&self) -> Tip {
        match verify(&self.identity.pool, None).await.expect("a verdict") {
            Verdict::Holds(tip) => tip,
            Verdict::Broken(fault) => panic!("{fault}"),
        }
    }

    /// What only somebody with every right on the database can do.
    async fn tamper(&self, statement: &'static str) {
        for sql in [
            "ALTER TABLE identity.audit DISABLE TRIGGER ALL",
            statement,
            "ALTER TABLE identity.audit ENABLE TRIGGER ALL",
        ] {
            sqlx::query(sql).execute(&self.admin()).await.expect("a superuser may");
        }
    }
}

fn acts(records: &[Record]) -> Vec<(&str, &str)> {
    records.iter().map(|record| (record.fields.action.as_str(), record.fields.reason.as_str())).collect()
}

fn act(reason: &str) -> OperatorAct {
    OperatorAct {
        operator: "lan".to_owned(),
        host: "bastion".to_owned(),
        action: Action::DeadLettersRedrive,
        subject: None,
        object: "wallet kind top-up, 3 jobs, 0 events".to_owned(),
        reason: reason.parse().expect("a reason"),
    }
}

#[tokio::test]
async fn every_act_of_a_citizen_has_its_record() {
    let stage = Stage::new().await;
    let device = DeviceId::generate();
    let (challenge, code) = stage.code(PHONE, device, crate::challenge::Purpose::SignIn).await;
    let address = Some("203.0.113.9".parse().expect("an address"));
    let opened = stage.identity.open_session(Opening { address, ..opening(challenge, code) }).await.expect("a session");
    let citizen = opened.citizen.id;
    let caller: Principal = stage.principal(&opened.tokens.access).await;
    let origin = Origin { address, session: Some(caller.session.into()), device: None };
    let edit = Edit {
        display_name: Some(Some(DisplayName::parse("Nguyễn Thị Hương").expect("a name"))),
        language: None,
    };
    stage.identity.edit_citizen(citizen, edit, None, origin).await.expect("changed");
    let pin = |text| Pin::parse(text).expect("six digits");
    stage.identity.set_pin(&caller, &pin("502917"), Proof::FreshSession, address).await.expect("set");
    stage.identity.set_pin(&caller, &pin("271828"), Proof::Current(pin("502917")), address).await.expect("changed");
    let again = stage.sign_in(PHONE, device).await;
    let other = DeviceId::generate();
    stage.sign_in(PHONE, other).await;
    stage.identity.remove_device(citizen, other, origin).await.expect("removed");
    let first = again.tokens.refresh;
    let second = stage.identity.refresh(&first, None).await.expect("rotated");
    stage.identity.refresh(&second.refresh, None).await.expect("rotated");
    assert!(matches!(stage.identity.refresh(&first, address).await, Err(Error::RefreshReplayed)));

    let records = stage.records(Filter { subject: Some(citizen.uuid()), ..Filter::default() }).await;
    assert_eq!(
        acts(&records),
        [
            ("citizen.register", "one-time-code"),
            ("device.add", "one-time-code"),
            ("session.start", "one-time-code"),
            ("profile.edit", "asked"),
            ("pin.set", "fresh-session"),
            ("pin.change", "current-pin"),
            ("session.end", "replaced"),
            ("session.start", "one-time-code"),
            ("device.add", "one-time-code"),
            ("session.start", "one-time-code"),
            ("device.remove", "asked"),
            ("session.end", "device-removed"),
            ("session.end", "replayed"),
        ]
    );
    let start = &records[2].fields;
    assert_eq!((start.actor_kind.as_str(), start.actor.clone()), ("citizen", citizen.to_string()));
    assert_eq!((start.object.clone(), start.session_id), (caller.session.to_string(), Some(caller.session)));
    assert_eq!((start.device_id, start.channel.as_str()), (Some(device.uuid()), "app"));
    assert_eq!(
        (records[3].fields.object.as_str(), records[3].fields.session_id),
        ("display_name", Some(caller.session))
    );
    let replay = &records[12].fields;
    assert_eq!((replay.actor_kind.as_str(), &replay.place), ("service", &start.place), "from the same address");
    let place = audit::address_digest(&stage.identity.config.keys, "203.0.113.9".parse().expect("an address"));
    let from_there = stage.records(Filter { place: place.ok(), ..Filter::default() }).await;
    assert_eq!(from_there.len(), 9, "what came from that address is found by it");
    let text = serde_json::to_string(&records).expect("JSON");
    for secret in ["912345678", "203.0.113", "Hương", "502917", "271828", first.as_str()] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert_eq!(stage.broken(None).await, None);
}

#[tokio::test]
async fn what_is_undone_leaves_no_record() {
    let stage = Stage::new().await;
    let opened = stage.sign_in(PHONE, DeviceId::generate()).await;
    let before = stage.tip().await;
    let (stranger, device) = (crate::CitizenId::generate(), DeviceId::generate());
    assert!(stage.identity.remove_device(stranger, device, Origin::default()).await.is_err());
    assert!(stage.identity.remove_device(opened.citizen.id, device, Origin::default()).await.is_err());
    let session = stage.principal(&opened.tokens.access).await.session;
    stage.identity.sign_out(stranger, session.into(), Origin::default()).await.expect("nothing happens");
    let mut tx = platform::db::begin(&stage.identity.pool).await.expect("begun");
    append_operator_act(&mut tx, &act("ticket 4711"), Utc::now()).await.expect("written");
    tx.rollback().await.expect("undone");
    assert_eq!(stage.tip().await, before);
}

#[tokio::test]
async fn acts_at_the_same_time_make_one_chain_over_replicas() {
    let stage = Stage::new().await;
    let replicas = [stage.identity.clone(), stage.replica()];
    let mut codes = Vec::new();
    for number in 0..12 {
        let phone = format!("09100000{number:02}");
        codes.push(stage.code(&phone, DeviceId::generate(), crate::challenge::Purpose::SignIn).await);
    }
    let opened = codes.into_iter().enumerate().map(|(index, (challenge, code))| {
        let replica = replicas[index % 2].clone();
        async move { replica.open_session(opening(challenge, code)).await }
    });
    assert!(join_all(opened).await.iter().all(Result::is_ok));
    let records = stage.records(Filter::default()).await;
    assert_eq!(records.iter().map(|record| record.position).collect::<Vec<_>>(), (1..=37).collect::<Vec<_>>());
    assert_eq!(stage.broken(None).await, None);
}

#[tokio::test]
async fn the_runtime_role_may_add_and_read_and_nobody_may_change() {
    let stage = Stage::new().await;
    stage.sign_in(PHONE, DeviceId::generate()).await;
    for sql in [
        "UPDATE identity.audit SET reason = 'x'",
        "DELETE FROM identity.audit",
        "TRUNCATE identity.audit",
        "DELETE FROM identity.audit_head",
        "ALTER TABLE identity.audit DISABLE TRIGGER ALL",
        "DROP TRIGGER audit_immutable ON identity.audit",
    ] {
        let refused = sqlx::query(sql).execute(&stage.context.pool).await.expect_err(sql);
        assert_eq!(refused.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"), "{sql}");
    }
    for sql in ["UPDATE identity.audit SET reason = 'x'", "DELETE FROM identity.audit", "TRUNCATE identity.audit"] {
        let refused = sqlx::query(sql).execute(&stage.admin()).await.expect_err(sql);
        assert_eq!(platform::db::violated(&refused), Some("identity_history_immutable"), "{sql}");
    }
    let rights: Vec<String> = sqlx::query_scalar(
        "SELECT privilege_type::text FROM information_schema.role_table_grants
        WHERE table_schema = 'identity' AND table_name = 'audit' AND grantee = $1 ORDER BY 1",
    )
    .bind(SCHEMA.runtime_role())
    .fetch_all(&stage.admin())
    .await
    .expect("rights");
    assert_eq!(rights, ["INSERT", "SELECT"]);
}

#[tokio::test]
async fn the_first_broken_record_is_named() {
    let stage = Stage::new().await;
    for number in 0..4 {
        stage.sign_in(&format!("091234567{number}"), DeviceId::generate()).await;
    }
    let whole = stage.tip().await;
    assert_eq!(whole.position, 13, "the keys, and three records for each sign-in");
    assert_eq!(stage.broken(Some(&whole)).await, None);

    stage.tamper("UPDATE identity.audit SET reason = 'other' WHERE position IN (7, 9)").await;
    assert_eq!(stage.broken(None).await, Some(Fault::Changed { position: 7 }));
    stage.tamper("UPDATE identity.audit SET reason = 'one-time-code' WHERE position IN (7, 9)").await;
    assert_eq!(stage.broken(None).await, None);

    stage
        .tamper("UPDATE identity.audit SET recorded_at = recorded_at - interval '1 microsecond' WHERE position = 4")
        .await;
    assert_eq!(stage.broken(None).await, Some(Fault::Changed { position: 4 }));
    stage
        .tamper("UPDATE identity.audit SET recorded_at = recorded_at + interval '1 microsecond' WHERE position = 4")
        .await;

    stage.tamper("UPDATE identity.audit_head SET hash = sha256('x')").await;
    assert_eq!(stage.broken(None).await, Some(Fault::Head { position: 13 }));
    stage
        .tamper("UPDATE identity.audit_head SET hash = (SELECT a.hash FROM identity.audit a WHERE a.position = 13)")
        .await;
    assert_eq!(stage.broken(None).await, None);

    stage.tamper("DELETE FROM identity.audit WHERE position > 11").await;
    assert_eq!(stage.broken(None).await, Some(Fault::Missing { position: 12 }), "the end is cut off");
    stage
        .tamper("UPDATE identity.audit_head SET position = 11, hash = (SELECT a.hash FROM identity.audit a WHERE a.position = 11)")
        .await;
    assert_eq!(stage.broken(None).await, None, "the head was cut too: nothing inside can tell");
    assert_eq!(stage.broken(Some(&whole)).await, Some(Fault::Missing { position: 12 }), "who kept the tip can");
    stage.sign_in(PHONE, DeviceId::generate()).await;
    assert_eq!(stage.broken(Some(&whole)).await, Some(Fault::Rewritten { position: 13 }));

    stage.tamper("DELETE FROM identity.audit WHERE position = 2").await;
    assert_eq!(stage.broken(None).await, Some(Fault::Missing { position: 2 }));
}

#[tokio::test]
async fn operators_and_processes_are_found_by_who_what_and_when() {
    let mut config = config();
    // So that a retired key goes within the hour.
    (config.lifetimes.session_seconds, config.lifetimes.browser_session_seconds) = (600, 600);
    let stage = Stage::with(config).await;
    stage.sign_in(PHONE, DeviceId::generate()).await;
    stage.clock.advance(TimeDelta::hours(1));
    let mut tx = platform::db::begin(&stage.identity.pool).await.expect("begun");
    append_operator_act(&mut tx, &act("ticket 4711"), stage.identity.now()).await.expect("written");
    tx.commit().await.expect("committed");
    let rotation = OperatorAct { action: Action::KeyRotate, ..act("yearly") };
    stage.identity.rotate_keys(Urgency::Now, &rotation.behest()).await.expect("rotated");
    stage.clock.advance(TimeDelta::hours(1));
    stage.identity.remove_keys().await.expect("removed");

    let by_lan = stage.records(Filter { actor: Some("lan".to_owned()), ..Filter::default() }).await;
    assert_eq!(acts(&by_lan), [("dead-letters.redrive", "ticket 4711"), ("key.rotate", "yearly")]);
    assert_eq!((by_lan[0].fields.actor_kind.as_str(), by_lan[0].fields.place.as_str()), ("operator", "bastion"));
    assert_eq!(by_lan[1].fields.object, stage.identity.signer().await.expect("a key").kid);
    let keys = stage.records(Filter { action: Some("key.".to_owned()), ..Filter::default() }).await;
    assert_eq!(acts(&keys), [("key.make", "first-start"), ("key.rotate", "yearly"), ("key.remove", "expired")]);
    let since = Some(stage.identity.now() - TimeDelta::minutes(90));
    let late = stage.records(Filter { since, ..Filter::default() }).await;
    assert_eq!(late.len(), 3);
    let newest = audit::search(&stage.identity.pool, &Filter { since, ..Filter::default() }, 2).await.expect("records");
    assert_eq!(acts(&newest), [("key.remove", "expired"), ("key.rotate", "yearly")]);
    assert_eq!(stage.records(Filter { until: since, ..Filter::default() }).await.len(), 4);
    let behest = Behest::of_process("test", "due");
    assert!(!stage.identity.rotate_keys(Urgency::WhenDue, &behest).await.expect("looked"));
    assert_eq!(stage.records(Filter::default()).await.len(), 7, "what was not done is not told");
}
