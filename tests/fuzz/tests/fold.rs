//! The ledger's decisions against the slow, obvious model, for as long as one likes: the ledger's own tests look at a few hundred cases.

#[path = "../../../services/ledger/tests/fold/model.rs"]
#[allow(dead_code, reason = "the ledger's own tests use the rest")]
mod model;
#[path = "../../../services/ledger/tests/fold/store.rs"]
#[allow(dead_code, reason = "the ledger's own tests use the rest")]
mod store;
#[path = "../../../services/ledger/tests/fold/world.rs"]
#[allow(dead_code, reason = "the ledger's own tests use the rest")]
mod world;

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use ledger::hold::Stamp;
use model::{Model, Said};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use store::Store;
use world::Asked;

fn at(moment: usize) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::minutes(i64::try_from(moment).expect("few moments"))
}

/// Requests at later and later moments, and the sizes of the batches that they are cut into.
fn story() -> impl Strategy<Value = (Vec<Vec<Asked>>, Vec<usize>)> {
    let moments = prop::collection::vec(prop::collection::vec(world::asked(), 0..40), 1..12);
    (moments, prop::collection::vec(1_usize..16, 1..6))
}

/// What the fold answers, batch by batch, and what the model answers, one by one.
fn answers(moments: &[Vec<Asked>], sizes: &[usize]) -> (Vec<Said>, Vec<Said>) {
    let (mut store, mut model) = (Store::default(), Model::default());
    let (mut folded, mut said, mut block) = (Vec::new(), Vec::new(), 0);
    let mut sizes = sizes.iter().copied().cycle();
    let genesis = [vec![world::genesis()]];
    for (moment, requests) in genesis.iter().chain(moments).enumerate() {
        said.extend(requests.iter().map(|request| model.ask(request, at(moment))));
        let mut rest = requests.as_slice();
        while !rest.is_empty() {
            let size = sizes.next().map_or(1, |size| size.clamp(1, rest.len()));
            block += 1;
            let effects = store.put(&rest[..size], Stamp { block, at: at(moment) });
            folded.extend(effects.verdicts.iter().map(Said::of));
            rest = &rest[size..];
        }
    }
    (folded, said)
}

#[test]
fn the_fold_answers_as_the_model_does() {
    let (mut runner, end) = (TestRunner::default(), Instant::now() + fuzz::patience());
    let mut stories = 0;
    while Instant::now() < end || stories == 0 {
        let tree = story().new_tree(&mut runner).expect("a story");
        let (moments, sizes) = tree.current();
        let (folded, said) = answers(&moments, &sizes);
        assert_eq!(folded, said, "{moments:#?} cut into {sizes:?}");
        stories += 1;
    }
}
