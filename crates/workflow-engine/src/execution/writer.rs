//! The writes of one execution: one commit at a time, none larger than a store takes.

use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;
use workflow_events::Timestamp;

use crate::execution::ending::Ending;
use crate::execution::halt::Halt;
use crate::execution::history::{Appended, History};
use crate::execution::outgoing::Outgoing;
use crate::store::{CancelRequest, Status};

/// The most records of one write.
const MAX_RECORDS_PER_WRITE: usize = 4096;
/// The most bytes of values in one write. Parallel steps whose results are each within their limit
/// must not make a write that a store refuses.
const MAX_BYTES_PER_WRITE: usize = 32 * 1024 * 1024;

/// Commits the records of one run.
pub(crate) struct Writer {
    history: History,
    commit: Option<CommitUnderWay>,
}

struct CommitUnderWay {
    records: Vec<Outgoing>,
    status: Status,
    /// How the execution ends with this commit.
    ending: Option<Ending>,
    answer: BoxFuture<'static, Result<Appended, Halt>>,
}

/// Result of a commit.
pub(crate) enum Written {
    /// The records are in the history.
    Committed {
        records: Vec<Outgoing>,
        ending: Option<Ending>,
        /// The cancel that was requested in the meantime.
        cancel: Option<CancelRequest>,
    },
    /// Nothing was written: the last record would have ended the execution, and the run is to be
    /// cancelled instead.
    Refused {
        records: Vec<Outgoing>,
        cancel: CancelRequest,
    },
}

impl Writer {
    pub(crate) fn new(history: History) -> Self {
        Self {
            history,
            commit: None,
        }
    }

    /// Returns the run's id.
    pub(crate) fn run_id(&self) -> &str {
        &self.history.ids.run
    }

    /// Returns the run's status as it was committed last.
    pub(crate) fn status(&self) -> Status {
        self.history.status
    }

    /// Begins to commit records; the run continues.
    pub(crate) fn write(&mut self, records: Vec<Outgoing>) -> Result<(), Halt> {
        self.begin(records, Status::Running, None, None)
    }

    /// Begins to commit records. The last of them ends the execution.
    pub(crate) fn end(
        &mut self,
        records: Vec<Outgoing>,
        status: Status,
        due_at: Option<Timestamp>,
        ending: Ending,
    ) -> Result<(), Halt> {
        self.begin(records, status, due_at, Some(ending))
    }

    fn begin(
        &mut self,
        records: Vec<Outgoing>,
        status: Status,
        due_at: Option<Timestamp>,
        ending: Option<Ending>,
    ) -> Result<(), Halt> {
        let answer = self.history.append(&records, status, due_at)?.boxed();
        self.commit = Some(CommitUnderWay {
            records,
            status,
            ending,
            answer,
        });
        Ok(())
    }

    /// Polls the commit under way; `Ready(None)` if there is none.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Written>, Halt>> {
        let Some(commit) = &mut self.commit else {
            return Poll::Ready(Ok(None));
        };
        let answer = ready!(commit.answer.poll_unpin(cx));
        let Some(commit) = self.commit.take() else {
            return Poll::Ready(Ok(None));
        };
        let CommitUnderWay {
            records,
            status,
            ending,
            ..
        } = commit;
        let written = match answer? {
            Appended::Committed(committed) => {
                self.history.advance(&records, status);
                Written::Committed {
                    records,
                    ending,
                    cancel: committed.cancel,
                }
            }
            Appended::CancelRequested(cancel) => Written::Refused { records, cancel },
        };
        Poll::Ready(Ok(Some(written)))
    }
}

/// Returns how many records, from the first on, go into one write: at least one if there is any.
pub(crate) fn first_write(queue: &[Outgoing]) -> usize {
    let mut bytes = 0;
    let fits = |(index, outgoing): &(usize, &Outgoing)| {
        let entry = outgoing.entry.as_ref();
        let payload = entry.and_then(|entry| entry.payload.as_ref());
        // The payload may stand in an event as well.
        bytes += payload.map_or(0, |payload| 2 * payload.as_str().len());
        *index == 0 || bytes <= MAX_BYTES_PER_WRITE
    };
    let records = queue.iter().enumerate().take(MAX_RECORDS_PER_WRITE);
    records.take_while(fits).count()
}
