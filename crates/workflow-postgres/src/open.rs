//! Connecting a store: the schema, the pool, the writer, and the tasks that wake workers.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::Config;

use crate::connection::Connector;
use crate::db::Opener;
use crate::error::ConnectError;
use crate::freshness::Freshness;
use crate::listen::{self, Wakeups};
use crate::options::{Durability, Options, Time};
use crate::queue::Write;
use crate::reader::Reader;
use crate::sql::Sql;
use crate::workers::Workers;
use crate::{schema, writer};
/// The parts of a store that its handles share.
pub(crate) struct Inner {
    pub(crate) schema: String,
    pub(crate) durability: Durability,
    pub(crate) time: Time,
    pub(crate) reader: Reader,
    pub(crate) writes: UnboundedSender<Write>,
    /// Writes of this store that other processes must learn of.
    pub(crate) own_writes: Arc<Wakeups>,
    /// Writes of other processes; `None` if the store does not listen.
    pub(crate) other_writes: Option<Arc<Wakeups>>,
    /// The tasks that notify and listen.
    tasks: Vec<JoinHandle<()>>,
}

/// Connects a store.
pub(crate) async fn connect(config: Config, options: &Options) -> Result<Inner, ConnectError> {
    let Options {
        schema: name,
        durability,
        time,
        readers,
        wait,
        listen,
    } = options.clone();
    let schema = schema::quoted(&name)?;
    let connector = Arc::new(Connector::new(config)?);
    let (mut client, driver) = connector.open(None).await?;
    let prepare = async {
        schema::check_server(&client, durability).await?;
        schema::migrate(&mut client, &name).await
    };
    let within = Duration::from_secs(60);
    timeout(within, prepare)
        .await
        .map_err(|_| ConnectError::Silent { within })??;
    drop(client);
    // The driver ends by itself once the client is dropped.
    drop(driver);

    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = Manager::from_connect(connector.config.clone(), (*connector).clone(), recycling);
    let create = connector.limit() + Duration::from_secs(1);
    let timeouts = Timeouts {
        wait: Some(wait),
        create: Some(create),
        recycle: Some(wait),
    };
    let freshness = Arc::new(Freshness::now());
    let is_current = {
        let freshness = freshness.clone();
        Hook::sync_fn(
            move |_, metrics| match freshness.is_before(metrics.created) {
                true => Ok(()),
                false => Err(HookError::message(
                    "it was opened before the connection that writes",
                )),
            },
        )
    };
    let pool = Pool::builder(manager)
        .max_size(readers)
        .runtime(Runtime::Tokio1)
        .timeouts(timeouts);
    let pool = pool.pre_recycle(is_current);
    let pool = pool
        .build()
        .map_err(|error| ConnectError::Pool(error.into()))?;

    let sql = Arc::new(Sql::new(&schema, time));
    let opener = Opener {
        connector: connector.clone(),
        sql: sql.clone(),
        workers: Arc::new(Workers::default()),
        freshness: freshness.clone(),
        schema,
        durability,
    };
    let db = opener.open().await?;
    let (writes, queue) = unbounded_channel();
    let session = db.session;
    tokio::spawn(writer::work(opener, db, queue));

    let own_writes = Arc::<Wakeups>::default();
    let other_writes = listen.then(Arc::<Wakeups>::default);
    let channel = listen::channel(&name);
    let notify = listen::notify(pool.clone(), channel.clone(), own_writes.clone(), session);
    let mut tasks = vec![tokio::spawn(notify)];
    if let Some(other_writes) = other_writes.clone() {
        let listen = listen::listen(connector.clone(), channel, other_writes, session);
        tasks.push(tokio::spawn(listen));
    }
    Ok(Inner {
        schema: name,
        durability,
        time,
        reader: Reader {
            pool,
            sql,
            freshness,
            connector,
            runtime: Handle::current(),
        },
        writes,
        own_writes,
        other_writes,
        tasks,
    })
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
