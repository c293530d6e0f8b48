//! One connection, to a server or a cluster.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline,
    RedisFuture, RedisResult, TlsMode, Value,
};

use super::settings::{RedisAddress, RedisSettings};

/// A connection that many calls use at once.
#[derive(Clone)]
pub(crate) enum Wire {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Wire {
    /// Connects. The caller bounds the time.
    pub(crate) async fn connect(settings: &RedisSettings) -> RedisResult<Wire> {
        if settings.tls {
            // Fails when the process has chosen one already, which is as good.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        // Our own bounds are shorter; these are for what runs in the background.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_within))
            .set_response_timeout(Some(settings.connect_within));
        match &settings.address {
            RedisAddress::Cluster(nodes) => {
                let mut builder = ClusterClientBuilder::new(
                    nodes.iter().map(|node| info(settings, node)).collect::<Vec<_>>(),
                )
                .retries(1)
                .connection_timeout(settings.connect_within)
                .response_timeout(settings.connect_within);
                if let Some(password) = &settings.password {
                    builder = builder.password(password.expose());
                }
                if let Some(username) = &settings.username {
                    builder = builder.username(username);
                }
                if settings.tls {
                    builder = builder.tls(TlsMode::Secure);
                }
                Ok(Wire::Cluster(builder.build()?.get_async_connection().await?))
            }
            RedisAddress::Url(_) | RedisAddress::Server(..) | RedisAddress::Sentinel { .. } => {
                let client = client(settings).await?;
                Ok(Wire::Server(client.get_multiplexed_async_connection_with_config(&config).await?))
            }
        }
    }
}

/// A client of one server: the only one, the one the sentinels name, or any of a cluster, which all pass messages on.
pub(crate) async fn client(settings: &RedisSettings) -> RedisResult<Client> {
    match &settings.address {
        RedisAddress::Url(url) => {
            let mut info = url.expose().into_connection_info()?;
            let mut login = info.redis_settings().clone();
            if let Some(username) = &settings.username {
                login = login.set_username(username);
            }
            if let Some(password) = &settings.password {
                login = login.set_password(password.expose());
            }
            if let Some(database) = settings.database {
                login = login.set_db(database);
            }
            info = info.set_redis_settings(login);
            Client::open(info)
        }
        RedisAddress::Server(host, port) => Client::open(info(settings, &(host.clone(), *port))),
        RedisAddress::Cluster(nodes) => {
            let mut last = None;
            for node in nodes {
                let client = Client::open(info(settings, node))?;
                match client.get_multiplexed_async_connection().await {
                    Ok(_) => return Ok(client),
                    Err(error) => last = Some(error),
                }
            }
            Err(last.unwrap_or_else(|| {
                (redis::ErrorKind::InvalidClientConfig, "no cluster node is given").into()
            }))
        }
        RedisAddress::Sentinel { sentinels, service, password } => {
            let addresses = sentinels.iter().map(|node| address(node, settings.tls));
            let mut builder = SentinelClientBuilder::new(addresses, service, SentinelServerType::Master)?;
            if let Some(password) = password {
                builder = builder.set_client_to_sentinel_password(password.expose());
            }
            if let Some(username) = &settings.username {
                builder = builder.set_client_to_redis_username(username);
            }
            if let Some(password) = &settings.password {
                builder = builder.set_client_to_redis_password(password.expose());
            }
            if let Some(database) = settings.database {
                builder = builder.set_client_to_redis_db(database);
            }
            if settings.tls {
                builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            }
            builder.build()?.async_get_client().await
        }
    }
}

fn address((host, port): &(String, u16), tls: bool) -> ConnectionAddr {
    if tls {
        ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host.clone(), *port)
    }
}

/// How one server is reached and logged in to.
fn info(settings: &RedisSettings, node: &(String, u16)) -> ConnectionInfo {
    let mut login = redis::RedisConnectionInfo::default();
    if let Some(username) = &settings.username {
        login = login.set_username(username);
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password.expose());
    }
    if let Some(database) = settings.database {
        login = login.set_db(database);
    }
    // Only an address that is text can fail to be understood.
    #[expect(clippy::expect_used, reason = "a parsed address is taken as it is")]
    let info =
        address(node, settings.tls).into_connection_info().expect("an address is connection information");
    info.set_redis_settings(login)
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Wire::Server(connection) => connection.req_packed_command(command),
            Wire::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Wire::Server(connection) => connection.req_packed_commands(commands, offset, count),
            Wire::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Wire::Server(connection) => connection.get_db(),
            Wire::Cluster(connection) => connection.get_db(),
        }
    }
}
