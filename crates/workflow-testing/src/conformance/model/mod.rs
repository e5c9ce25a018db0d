//! Random operations on a store and on a model, whose answers must be equal.
//!
//! The model is simple on purpose: it searches lists from end to end. It shares no code with a
//! store. Keys and positions are compared only by their order, because each store chooses its own.

mod generator;
mod naive;
mod subject;

mod answer;
mod op;

use std::ops::Range;
use std::sync::Arc;

use workflow_engine::Store;

use super::fixture::list_all;
use generator::Generator;
use naive::Naive;
use subject::Subject;

/// The random sequences that are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// The seeds. There is one sequence for each, which is always the same.
    pub seeds: Range<u64>,
    /// The number of operations of each sequence.
    pub operations: usize,
}

impl Default for Sequences {
    /// 200 sequences of 100 operations.
    fn default() -> Self {
        Self {
            seeds: 0..200,
            operations: 100,
        }
    }
}

/// Runs random sequences of operations, each on a fresh, empty store, and compares every answer
/// with that of the model.
///
/// # Panics
///
/// At the first answer that differs; the message has the seed and the operation.
pub async fn agrees<F>(mut fresh: impl FnMut() -> F, sequences: Sequences)
where
    F: Future<Output = Arc<dyn Store>>,
{
    for seed in sequences.seeds {
        check_sequence(fresh().await, seed, sequences.operations).await;
    }
}

async fn check_sequence(store: Arc<dyn Store>, seed: u64, operations: usize) {
    let mut model = Naive::default();
    let mut generator = Generator::new(seed);
    let mut subject = Subject::new(store);
    for number in 1..=operations {
        for op in generator.next(&model) {
            let context = format!("seed {seed}, operation {number}: {op:?}");
            let expected = model.apply(op.clone());
            let actual = subject.apply(op).await;
            assert!(
                actual == expected,
                "{context}: the store answers {actual:#?}, the model {expected:#?}"
            );
            subject.check_new_events(&model, &context).await;
            let expected = model.runs();
            let actual = subject.translated(list_all(subject.store()).await);
            assert!(
                actual == expected,
                "{context}: the store now has {actual:#?}, the model {expected:#?}"
            );
        }
    }
    for op in model.final_reads() {
        let context = format!("seed {seed}, at the end: {op:?}");
        let expected = model.apply(op.clone());
        let actual = subject.apply(op).await;
        assert!(
            actual == expected,
            "{context}: the store answers {actual:#?}, the model {expected:#?}"
        );
    }
}
