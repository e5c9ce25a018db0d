//! For tests: a real HTTP server on loopback that records the events it takes and fails as its
//! script says.

mod answer;
mod echo;
mod reply;
mod request;
mod server;

pub use answer::Answer;
pub use echo::Echo;
pub use reply::Reply;
pub use request::RecordedRequest;
pub use server::FaultServer;
