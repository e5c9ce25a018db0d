//! For tests: a real HTTP endpoint on loopback that counts what it receives and fails as told.

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
