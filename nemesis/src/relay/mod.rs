//! A relay between peers that tampers with what passes: whole frames where it can, bytes where it must.
//!
//! ```text
//!   n1 ──dials──▶ face of n2 ═▶ read frame ═▶ tamper ═▶ queue with due times ═▶ write ──▶ n2
//!      ◀──────────────────────── verdict, copied ◀────────────────────────────────────────
//! ```
//!
//! There is one weather a direction: what n1 sends to n2 may be delayed while what n2 sends to n1 is not. Peers
//! send on connections that they dialed, so the direction of a connection is that of its frames.
//!
//! - T1  Without weather every byte passes, in order.
//! - T2  Weather acts on connections that are open, from the next frame on, and on new ones.
//! - T3  When one side closes, so does the other, unless half-open connections are what is asked for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use types::Rng;

mod pump;

/// What happens to what one node sends to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tamper {
    /// Nothing.
    #[default]
    Nothing,
    /// Every frame is late by so much, or up to twice that; their order is kept.
    Delay(Duration),
    /// So many of a hundred frames arrive twice.
    Duplicate(u64),
    /// So many of a hundred frames arrive after the next one.
    Reorder(u64),
    /// So many of a thousand frames are cut in the middle, and the connection reset.
    Reset(u64),
    /// Nothing arrives, and the sender is not told.
    HalfOpen,
    /// Bytes arrive one at a time, with this pause between them.
    Trickle(Duration),
    /// One bit of so many of a hundred frames is wrong.
    Corrupt(u64),
}

/// The relay of a cluster.
pub struct Relay {
    /// By sender, then by receiver.
    weather: Vec<Vec<Arc<Weather>>>,
    listeners: Vec<JoinHandle<()>>,
}

/// What happens in one direction at the moment.
#[derive(Debug, Default)]
struct Weather(Mutex<Tamper>);

impl Weather {
    fn now(&self) -> Tamper {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, tamper: Tamper) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tamper;
    }
}

/// As in the peers' own connections: a dead one is noticed within seconds.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Where the nodes are, and the relay's faces of them.
pub struct Addresses {
    /// The node itself.
    pub node: fn(usize) -> Ipv4Addr,
    /// Where the relay is dialed in its stead, and dials from in its name.
    pub face: fn(usize) -> Ipv4Addr,
    /// The peers' port.
    pub port: u16,
}

impl Relay {
    /// Listens on every node's face.
    ///
    /// # Errors
    /// A face cannot be listened on.
    pub fn start(runtime: &Handle, nodes: usize, addresses: Addresses, seed: u64) -> anyhow::Result<Relay> {
        let row = || (0..nodes).map(|_| Arc::new(Weather::default())).collect();
        let weather: Vec<Vec<Arc<Weather>>> = (0..nodes).map(|_| row()).collect();
        let addresses = Arc::new(addresses);
        let connections = Arc::new(AtomicU64::new(0));
        let mut listeners = Vec::new();
        for to in 0..nodes {
            let face = SocketAddrV4::new((addresses.face)(to), addresses.port);
            let listening = runtime.block_on(TcpListener::bind(face));
            let listener = listening.with_context(|| format!("the relay cannot listen on {face}"))?;
            let senders: Vec<Arc<Weather>> = weather.iter().map(|row| row[to].clone()).collect();
            let (addresses, connections) = (addresses.clone(), connections.clone());
            listeners.push(runtime.spawn(async move {
                while let Ok((dialer, address)) = listener.accept().await {
                    let Some(from) = (0..nodes).find(|node| (addresses.node)(*node) == address.ip()) else {
                        continue;
                    };
                    let number = connections.fetch_add(1, Ordering::Relaxed);
                    let rng = Rng::keyed(seed, &[from as u64, to as u64, number]);
                    tokio::spawn(connect(dialer, addresses.clone(), from, to, senders[from].clone(), rng));
                }
            }));
        }
        Ok(Relay { weather, listeners })
    }

    /// Tampers with what these nodes send and are sent, and with nothing else.
    pub fn tamper(&self, victims: &[usize], tamper: Tamper) {
        for (from, row) in self.weather.iter().enumerate() {
            for (to, weather) in row.iter().enumerate() {
                let struck = victims.contains(&from) || victims.contains(&to);
                weather.set(if struck { tamper } else { Tamper::Nothing });
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listeners.iter().for_each(JoinHandle::abort);
    }
}

async fn connect(
    dialer: TcpStream,
    addresses: Arc<Addresses>,
    from: usize,
    to: usize,
    weather: Arc<Weather>,
    rng: Rng,
) {
    // The dialer is told nothing but that the connection is gone, as if it had reached the node itself.
    let Ok(upstream) = dial(&addresses, from, to).await else { return };
    drop(pump::run(dialer, upstream, weather, rng).await);
}

async fn dial(addresses: &Addresses, from: usize, to: usize) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(((addresses.face)(from), 0)))?;
    let dialing = socket.connect(SocketAddr::from(((addresses.node)(to), addresses.port)));
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, dialing).await??;
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
    Ok(stream)
}
