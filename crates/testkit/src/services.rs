//! Real PostgreSQL and Redis servers for tests: started in a temporary directory on a free port, gone with the value.
//!
//! A run of tests shares one of each: `test-services` starts them and names them in [`POSTGRES`] and [`REDIS`], and
//! every test makes its own database. A test that stops a server starts one of its own.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Environment variable: the URL of the run's PostgreSQL server, database `postgres`.
pub const POSTGRES: &str = "TOLLWAY_TEST_POSTGRES";
/// Environment variable: the URL of the run's Redis server.
pub const REDIS: &str = "TOLLWAY_TEST_REDIS";
/// Environment variable: tests that need a server fail without one, instead of passing over it.
pub const REQUIRED: &str = "TOLLWAY_TEST_SERVICES_REQUIRED";

/// How long a server gets to start.
const START: Duration = Duration::from_secs(60);
/// How long a server gets to stop before it is killed.
const STOP: Duration = Duration::from_secs(10);
/// Where Debian keeps PostgreSQL's programs, and the name of the user that runs them.
const DEBIAN: &str = "/usr/lib/postgresql";
const USER: &str = "postgres";

/// The URL of a new, empty database on the run's PostgreSQL; `None`, with a message, when there is no server.
///
/// Panics when a server is [`REQUIRED`] and there is none, or when it does not obey.
#[expect(clippy::panic, reason = "a test that cannot run must fail")]
pub fn new_database() -> Option<String> {
    let server = shared(POSTGRES)?;
    match make_database(&server) {
        Ok(url) => Some(url),
        Err(error) => panic!("the test server makes no database: {error}"),
    }
}

/// The URL of the run's Redis; `None`, with a message, when there is none.
///
/// Panics when a server is [`REQUIRED`] and there is none.
pub fn redis() -> Option<String> {
    shared(REDIS)
}

#[expect(clippy::panic, reason = "a test that cannot run must fail")]
fn shared(variable: &str) -> Option<String> {
    let url =
        std::env::var_os(variable).and_then(|value| value.into_string().ok()).filter(|it| !it.is_empty());
    if url.is_none() {
        if std::env::var_os(REQUIRED).is_some() {
            panic!("{variable} is not set, though this run requires it");
        }
        eprintln!(
            "passed over: {variable} is not set; run this within `cargo xtask test` or `test-services`"
        );
    }
    url
}

/// A PostgreSQL server of one's own.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
}

/// A Redis server of one's own.
#[derive(Debug)]
pub struct Redis {
    server: Server,
}

impl Postgres {
    /// Makes a cluster and starts it; about two seconds. Nothing is written through to the disk.
    pub fn start() -> io::Result<Postgres> {
        let home = Home::make("postgres")?;
        let data = home.path.join("data");
        let mut initdb = home.command(&program("initdb")?);
        initdb.args(["--username", USER, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"]);
        run(initdb.arg(&data))?;
        let port = free_port()?;
        let settings = [
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
        ];
        let mut arguments: Vec<OsString> =
            vec!["-D".into(), data.into(), "-p".into(), port.to_string().into()];
        arguments.extend(settings.iter().flat_map(|setting| ["-c".into(), OsString::from(setting)]));
        let mut server = Server { home, program: program("postgres")?, arguments, port, child: None };
        server.start(|address| run(&mut ready(address)).is_ok())?;
        Ok(Postgres { server })
    }

    /// The URL of its database `postgres`.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.server.port)
    }

    /// The URL of a new, empty database.
    pub fn new_database(&self) -> io::Result<String> {
        make_database(&self.url())
    }

    /// Stops it; connections break off.
    pub fn stop(&mut self) -> io::Result<()> {
        self.server.stop("INT")
    }

    /// Starts it again, with its data and on its port.
    pub fn start_again(&mut self) -> io::Result<()> {
        self.server.start(|address| run(&mut ready(address)).is_ok())
    }
}

impl Redis {
    /// Starts it. It keeps nothing.
    pub fn start() -> io::Result<Redis> {
        let home = Home::make("redis")?;
        let port = free_port()?;
        let directory = home.path.display().to_string();
        let arguments = [
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            &directory,
        ]
        .map(OsString::from)
        .to_vec();
        let mut server = Server { home, program: "redis-server".into(), arguments, port, child: None };
        server.start(pong)?;
        Ok(Redis { server })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.server.port)
    }

    /// Stops it; connections break off and everything it knew is gone.
    pub fn stop(&mut self) -> io::Result<()> {
        self.server.stop("KILL")
    }

    /// Starts it again, empty, on its port.
    pub fn start_again(&mut self) -> io::Result<()> {
        self.server.start(pong)
    }

    /// Makes it take connections and answer nothing.
    pub fn pause(&self) -> io::Result<()> {
        self.server.signal("STOP")
    }

    /// Ends [`Redis::pause`].
    pub fn resume(&self) -> io::Result<()> {
        self.server.signal("CONT")
    }
}

/// A running, or stopped, server.
#[derive(Debug)]
struct Server {
    home: Home,
    program: PathBuf,
    arguments: Vec<OsString>,
    port: u16,
    child: Option<Child>,
}

impl Server {
    fn start(&mut self, is_ready: impl Fn(SocketAddr) -> bool) -> io::Result<()> {
        let log = std::fs::File::create(self.home.path.join("log"))?;
        let mut command = self.home.command(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = self.child.insert(command.spawn()?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let end = Instant::now() + START;
        while !is_ready(address) {
            if child.try_wait()?.is_some() || Instant::now() > end {
                let log = std::fs::read_to_string(self.home.path.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("{} does not start: {log}", self.program.display())));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(())
    }

    fn signal(&self, name: &str) -> io::Result<()> {
        match &self.child {
            Some(child) => run(Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string())),
            None => Ok(()),
        }
    }

    fn stop(&mut self, signal: &str) -> io::Result<()> {
        self.signal(signal)?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let end = Instant::now() + STOP;
        while child.try_wait()?.is_none() {
            if Instant::now() > end {
                child.kill()?;
                child.wait()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // For PostgreSQL the quick way; Redis would write, but has nothing to.
        let _ = self.stop("INT");
    }
}

/// A server's directory, and the user it runs as.
#[derive(Debug)]
struct Home {
    path: PathBuf,
    /// When we are root: PostgreSQL refuses to run as root.
    user: Option<(u32, u32)>,
}

impl Home {
    fn make(name: &str) -> io::Result<Home> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tollway-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        let mut home = Home { path, user: None };
        if output(Command::new("id").arg("-u"))? == "0" {
            let id = |flag| output(Command::new("id").args([flag, USER]))?.parse().map_err(io::Error::other);
            let (user, group) = (id("-u")?, id("-g")?);
            #[cfg(unix)]
            std::os::unix::fs::chown(&home.path, Some(user), Some(group))?;
            home.user = Some((user, group));
        }
        Ok(home)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.path);
        #[cfg(unix)]
        if let Some((user, group)) = self.user {
            use std::os::unix::process::CommandExt as _;
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// One of PostgreSQL's programs: on the path, or where Debian keeps it.
fn program(name: &str) -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut debian: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    debian.sort();
    std::env::split_paths(&path)
        .chain(debian.into_iter().rev())
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| io::Error::other(format!("{name} is not installed; Debian's package is postgresql")))
}

fn ready(address: SocketAddr) -> Command {
    let mut command = Command::new(program("pg_isready").unwrap_or_else(|_| "pg_isready".into()));
    command.args(["-q", "-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command
}

fn pong(address: SocketAddr) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer == *b"+PONG")
    };
    ask().unwrap_or(false)
}

fn make_database(server: &str) -> io::Result<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("test_{}_{number}", std::process::id());
    let mut psql = Command::new(program("psql")?);
    // A process id comes back some day; its database is then an old one.
    psql.args(["--quiet", "--no-psqlrc", server, "-c"]).arg(format!("DROP DATABASE IF EXISTS {name}"));
    run(psql.arg("-c").arg(format!("CREATE DATABASE {name}")))?;
    let (base, _) = server.rsplit_once('/').unwrap_or((server, ""));
    Ok(format!("{base}/{name}"))
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn run(command: &mut Command) -> io::Result<()> {
    output(command).map(|_| ())
}

fn output(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{program} failed with {}: {said}", output.status)))
}
