//! Where the shared store is.

use std::time::Duration;

use tollway_model::Secret;

/// How Redis or Valkey is reached.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Where it is.
    pub address: RedisAddress,
    /// Name to log in with; overrides the URL's.
    pub username: Option<String>,
    /// Password to log in with; overrides the URL's.
    pub password: Option<Secret>,
    /// Speak TLS. A URL says so itself, with `rediss`.
    pub tls: bool,
    /// Database number; overrides the URL's. A cluster has none.
    pub database: Option<i64>,
    /// What all keys and channels begin with, in braces, so that a cluster keeps them in one slot. Default `tollway`.
    pub namespace: String,
    /// Most time one operation of a call may take. Default 20 ms.
    pub within: Duration,
    /// Most time to connect in. Default 1 s.
    pub connect_within: Duration,
}

/// Where Redis or Valkey is.
#[derive(Debug, Clone)]
pub enum RedisAddress {
    /// `redis://`, `rediss://` or `unix://`, perhaps with a password in it: `REDIS_URL`.
    Url(Secret),
    /// One server: `REDIS_HOST`, `REDIS_PORT`.
    Server(String, u16),
    /// Some nodes of a cluster: `REDIS_CLUSTER_NODES`.
    Cluster(Vec<(String, u16)>),
    /// Sentinels, who know the server.
    Sentinel {
        /// Host and port of each.
        sentinels: Vec<(String, u16)>,
        /// What they call the server.
        service: String,
        /// Password of the sentinels, if they have one.
        password: Option<Secret>,
    },
}

impl RedisSettings {
    /// The defaults, at this address.
    pub fn new(address: RedisAddress) -> RedisSettings {
        RedisSettings {
            address,
            username: None,
            password: None,
            tls: false,
            database: None,
            namespace: "tollway".to_owned(),
            within: Duration::from_millis(20),
            connect_within: Duration::from_secs(1),
        }
    }
}
