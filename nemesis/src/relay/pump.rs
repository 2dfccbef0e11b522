//! One connection through the relay, from its first byte to its last.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;
use types::Rng;

use super::{Tamper, Weather};

/// Bytes of the greeting that comes before the frames, and of a frame's header, whose first four are the length of
/// what follows it. See `crates/node/src/peers/frame.rs`.
const HELLO_LEN: usize = 48;
const HEADER_LEN: usize = 12;
const FRAME_LEN_MAX: usize = 64 << 20;

/// Frames that wait for their time; beyond this the sender is slowed down.
const QUEUE_FRAMES: usize = 1024;

/// A frame that is to be overtaken waits this long for another to do so.
const OVERTAKE_TIMEOUT: Duration = Duration::from_millis(50);

/// A frame on its way.
struct Due {
    at: Instant,
    bytes: Vec<u8>,
    /// The connection is reset after this.
    last: bool,
}

/// Passes everything on between two ends until one of them closes.
///
/// # Errors
/// How a connection ended; nobody needs to know.
pub(super) async fn run(
    dialer: TcpStream,
    upstream: TcpStream,
    weather: Arc<Weather>,
    rng: Rng,
) -> io::Result<()> {
    dialer.set_nodelay(true)?;
    let (from_dialer, mut to_dialer) = dialer.into_split();
    let (mut from_upstream, to_upstream) = upstream.into_split();
    let (queue, due) = mpsc::channel(QUEUE_FRAMES);
    let (half_open, trickle) = (weather.clone(), weather.clone());
    let backward = async move {
        let copied = tokio::io::copy(&mut from_upstream, &mut to_dialer).await;
        while half_open.now() == Tamper::HalfOpen {
            tokio::time::sleep(OVERTAKE_TIMEOUT).await;
        }
        copied.map(drop)
    };
    tokio::select! {
        ended = read(from_dialer, queue, weather, rng) => ended,
        ended = write(to_upstream, due, trickle) => ended,
        ended = backward => ended,
    }
}

/// Reads frames and decides what becomes of each.
async fn read(
    mut dialer: OwnedReadHalf,
    queue: mpsc::Sender<Due>,
    weather: Arc<Weather>,
    mut rng: Rng,
) -> io::Result<()> {
    let mut hello = vec![0; HELLO_LEN];
    dialer.read_exact(&mut hello).await?;
    send(&queue, Due::now(hello)).await?;
    let mut overtaken: Option<Vec<u8>> = None;
    let mut swallowed = false;
    loop {
        let mut frame = match (&overtaken, next_frame(&mut dialer)) {
            (None, next) => next.await?,
            (Some(_), next) => {
                // A frame is never left half read: the wait is only for its first byte.
                let mut next = std::pin::pin!(next);
                match tokio::time::timeout(OVERTAKE_TIMEOUT, &mut next).await {
                    Ok(frame) => frame?,
                    Err(_) => {
                        send(&queue, Due::now(overtaken.take().unwrap_or_default())).await?;
                        next.await?
                    }
                }
            }
        };
        let now = weather.now();
        match now {
            Tamper::HalfOpen => {
                swallowed = true;
                continue;
            }
            // TCP never goes on after a gap.
            _ if swallowed => return Err(io::ErrorKind::ConnectionReset.into()),
            Tamper::Reorder(percent) if overtaken.is_none() && rng.below(100) < percent => {
                overtaken = Some(frame);
                continue;
            }
            Tamper::Reset(permille) if rng.below(1000) < permille => {
                frame.truncate(frame.len() / 2);
                send(&queue, Due { last: true, ..Due::now(frame) }).await?;
                // The writer ends the connection when it comes to this frame.
                return std::future::pending().await;
            }
            Tamper::Corrupt(percent) if rng.below(100) < percent => flip_a_bit(&mut frame, &mut rng),
            Tamper::Duplicate(percent) if rng.below(100) < percent => {
                send(&queue, Due::now(frame.clone())).await?;
            }
            _ => {}
        }
        send(&queue, Due::under(now, frame, &mut rng)).await?;
        if let Some(frame) = overtaken.take() {
            send(&queue, Due::now(frame)).await?;
        }
    }
}

/// Writes frames when they are due.
async fn write(
    mut upstream: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Due>,
    weather: Arc<Weather>,
) -> io::Result<()> {
    while let Some(due) = queue.recv().await {
        tokio::time::sleep_until(due.at).await;
        let mut rest = &due.bytes[..];
        while let (Tamper::Trickle(pause), Some((byte, after))) = (weather.now(), rest.split_first()) {
            upstream.write_all(&[*byte]).await?;
            tokio::time::sleep(pause).await;
            rest = after;
        }
        upstream.write_all(rest).await?;
        if due.last {
            socket2::SockRef::from(upstream.as_ref()).set_linger(Some(Duration::ZERO))?;
            return Ok(());
        }
    }
    Ok(())
}

/// Reads one frame, header and all.
async fn next_frame(dialer: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; HEADER_LEN];
    dialer.read_exact(&mut frame).await?;
    let [a, b, c, d, ..] = frame[..] else { return Err(io::ErrorKind::InvalidData.into()) };
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    if len > FRAME_LEN_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    frame.resize(HEADER_LEN + len, 0);
    dialer.read_exact(&mut frame[HEADER_LEN..]).await?;
    Ok(frame)
}

fn flip_a_bit(frame: &mut [u8], rng: &mut Rng) {
    let bit = rng.below(frame.len() as u64 * 8);
    if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| frame.get_mut(at)) {
        *byte ^= 1 << (bit % 8);
    }
}

async fn send(queue: &mpsc::Sender<Due>, due: Due) -> io::Result<()> {
    queue.send(due).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
}

impl Due {
    fn now(bytes: Vec<u8>) -> Due {
        Due { at: Instant::now(), bytes, last: false }
    }

    fn under(tamper: Tamper, bytes: Vec<u8>, rng: &mut Rng) -> Due {
        let due = Due::now(bytes);
        match tamper {
            Tamper::Delay(delay) => {
                let jitter = Duration::from_micros(rng.below(delay.as_micros() as u64));
                Due { at: due.at + delay + jitter, ..due }
            }
            _ => due,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A frame whose body is `len` times `byte`.
    fn frame(byte: u8, len: u8) -> Vec<u8> {
        let mut frame = vec![len, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9];
        frame.extend(std::iter::repeat_n(byte, usize::from(len)));
        frame
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (dialed, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (dialed.unwrap(), accepted.unwrap().0)
    }

    /// Sends a greeting and frames 1 to `count` through the relay, and returns what comes out after the greeting,
    /// and how it ended.
    async fn relayed(tamper: Tamper, count: u8) -> (Vec<u8>, io::Result<()>) {
        let (mut peer, dialer) = pair().await;
        let (upstream, mut node) = pair().await;
        let weather = Arc::new(Weather::default());
        weather.set(tamper);
        tokio::spawn(run(dialer, upstream, weather, Rng::new(1)));
        peer.write_all(&[7; HELLO_LEN]).await.unwrap();
        for number in 1..=count {
            peer.write_all(&frame(number, 3)).await.unwrap();
        }
        let mut hello = [0; HELLO_LEN];
        node.read_exact(&mut hello).await.unwrap();
        assert_eq!(hello, [7; HELLO_LEN]);
        let mut out = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            match tokio::time::timeout(Duration::from_millis(150), node.read(&mut buffer)).await {
                Err(_) | Ok(Ok(0)) => return (out, Ok(())),
                Ok(Ok(len)) => out.extend_from_slice(&buffer[..len]),
                Ok(Err(error)) => return (out, Err(error)),
            }
        }
    }

    fn frames(numbers: &[u8]) -> Vec<u8> {
        numbers.iter().flat_map(|number| frame(*number, 3)).collect()
    }

    #[tokio::test]
    async fn without_weather_everything_passes_in_order() {
        assert_eq!(relayed(Tamper::Nothing, 4).await.0, frames(&[1, 2, 3, 4]));
    }

    #[tokio::test]
    async fn delayed_and_trickling_frames_arrive_whole_and_in_order() {
        assert_eq!(relayed(Tamper::Delay(Duration::from_millis(5)), 4).await.0, frames(&[1, 2, 3, 4]));
        assert_eq!(relayed(Tamper::Trickle(Duration::from_micros(10)), 2).await.0, frames(&[1, 2]));
    }

    #[tokio::test]
    async fn frames_are_repeated_and_overtake_each_other_whole() {
        assert_eq!(relayed(Tamper::Duplicate(100), 2).await.0, frames(&[1, 1, 2, 2]));
        assert_eq!(relayed(Tamper::Reorder(100), 4).await.0, frames(&[2, 1, 4, 3]));
        // Nobody comes to overtake the last one.
        assert_eq!(relayed(Tamper::Reorder(100), 1).await.0, frames(&[1]));
    }

    #[tokio::test]
    async fn one_bit_of_a_corrupted_frame_is_wrong() {
        let (out, _) = relayed(Tamper::Corrupt(100), 1).await;
        let wrong: u32 = out.iter().zip(&frames(&[1])).map(|(one, other)| (one ^ other).count_ones()).sum();
        assert_eq!((out.len(), wrong), (frames(&[1]).len(), 1));
    }

    #[tokio::test]
    async fn a_reset_comes_in_the_middle_of_a_frame() {
        let (out, _) = relayed(Tamper::Reset(1000), 2).await;
        assert!(out.len() < frame(1, 3).len(), "{out:?}");
    }

    #[tokio::test]
    async fn a_half_open_connection_swallows_everything() {
        assert_eq!(relayed(Tamper::HalfOpen, 3).await.0, frames(&[]));
    }
}
