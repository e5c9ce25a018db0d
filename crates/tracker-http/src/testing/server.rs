//! The fault server.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::answer::Answer;
use super::request::RecordedRequest;

/// A loopback HTTP/1.1 server that records every event it takes, and answers by a script.
///
/// Each [`then`](Self::then) appends one answer to the script. After the script, the server gives
/// the default answer: [`Answer::Accept`], unless [`always`](Self::always) sets another one.
/// Dropping the server closes its port and its connections.
pub struct FaultServer {
    address: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

struct State {
    script: VecDeque<Answer>,
    default_answer: Answer,
    requests: Vec<RecordedRequest>,
    /// The requests whose taken events are not in `events` yet, each with the indices that were not
    /// taken.
    unread: Vec<(usize, Vec<usize>)>,
    events: Vec<Value>,
    connections: usize,
}

impl State {
    /// Returns the events taken. They are parsed here and not before the answer, because parsing
    /// would delay the answer.
    fn events(&mut self) -> &[Value] {
        for (request, rejected) in self.unread.drain(..) {
            let events = self.requests[request].events().into_iter().enumerate();
            self.events.extend(
                events
                    .filter(|(index, _)| !rejected.contains(index))
                    .map(|(_, event)| event),
            );
        }
        &self.events
    }

    /// Returns whether an event with this id was taken.
    fn has(&mut self, id: &str) -> bool {
        self.events().iter().any(|event| event["eventId"] == id)
    }
}

impl FaultServer {
    /// Starts a server on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// An error if the system has no free port.
    pub async fn start() -> io::Result<Self> {
        Self::listen("127.0.0.1:0").await
    }

    /// Starts a server on this address, for instance that of an earlier server.
    ///
    /// # Errors
    ///
    /// An error if the port cannot be bound.
    pub async fn listen(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?.to_string();
        let state = Arc::new(Mutex::new(State {
            script: VecDeque::new(),
            default_answer: Answer::Accept,
            requests: Vec::new(),
            unread: Vec::new(),
            events: Vec::new(),
            connections: 0,
        }));
        let task = tokio::spawn(accept(listener, state.clone()));
        Ok(Self {
            address,
            state,
            task,
        })
    }

    /// Returns the URL to send events to.
    pub fn url(&self) -> String {
        format!("http://{}/v1/events", self.address)
    }

    /// Returns the address, `127.0.0.1:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Appends an answer to the script.
    pub fn then(&self, answer: Answer) {
        lock(&self.state).script.push_back(answer);
    }

    /// Sets the answer for requests beyond the script.
    pub fn always(&self, answer: Answer) {
        lock(&self.state).default_answer = answer;
    }

    /// Returns the events taken, in order, duplicates included.
    pub fn events(&self) -> Vec<Value> {
        lock(&self.state).events().to_vec()
    }

    /// Returns the number of events taken, duplicates included.
    pub fn received(&self) -> usize {
        lock(&self.state).events().len()
    }

    /// Returns the number of different `eventId`s among the events taken.
    pub fn distinct(&self) -> usize {
        let mut state = lock(&self.state);
        let ids: HashSet<_> = state
            .events()
            .iter()
            .filter_map(|event| event["eventId"].as_str())
            .collect();
        ids.len()
    }

    /// Returns every request that was read completely, taken or not.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        lock(&self.state).requests.clone()
    }

    /// Returns the number of connections accepted so far.
    pub fn connections(&self) -> usize {
        lock(&self.state).connections
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for FaultServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections until the task is aborted; the connections are dropped with it.
async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        lock(&state).connections += 1;
        let state = state.clone();
        // Broken connections are the purpose of this server, so their errors are ignored.
        connections.spawn(async move { serve(stream, &state).await.unwrap_or_default() });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = RecordedRequest::read(&mut stream).await? {
        let answer = {
            let mut state = lock(state);
            let answer = state
                .script
                .pop_front()
                .unwrap_or_else(|| state.default_answer.clone());
            let answer = answer.resolve(&request, |id| state.has(id));
            if let Some(rejected) = answer.rejected_indices() {
                let request = state.requests.len();
                state.unread.push((request, rejected));
            }
            state.requests.push(request);
            answer
        };
        if !answer.write(stream.get_mut()).await? {
            break;
        }
    }
    Ok(())
}
