//! Connections that only read.

use std::{
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use rusqlite::{Connection, TransactionBehavior};

use super::{StoreError, connect};

/// Connections that are kept; a burst may open more for a moment.
const KEPT: usize = 8;

pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    closed: AtomicBool,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default(), closed: AtomicBool::new(false) }
    }

    pub(super) fn run<T, E, F>(&self, f: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E>,
        E: From<StoreError>,
    {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed.into());
        }
        let idle = self.idle.lock().expect("no code panics while it holds this lock").pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.open()?,
        };
        let result = {
            // One transaction, so that two queries of `f` see the same state.
            let tx = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(StoreError::from)?;
            f(&tx)
        };
        let mut idle = self.idle.lock().expect("no code panics while it holds this lock");
        if idle.len() < KEPT && !self.closed.load(Ordering::Acquire) {
            idle.push(connection);
        }
        result
    }

    fn open(&self) -> Result<Connection, StoreError> {
        let connection = connect(&self.path)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.idle.lock().expect("no code panics while it holds this lock").clear();
    }
}
