//! A way to a server that can be closed: what passes is passed on, until nothing is.

use crate::{Result, text};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
};

/// A listener on this machine whose connections lead to one server.
pub struct Detour {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    server: OnceLock<String>,
    /// Both ends of what is open; none once it is closed.
    open: Mutex<Option<Vec<TcpStream>>>,
}

impl Detour {
    /// Listens.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(text)?;
        let port = listener.local_addr().map_err(text)?.port();
        let state = Arc::new(State {
            open: Mutex::new(Some(Vec::new())),
            ..State::default()
        });
        let shared = state.clone();
        // Ends with the process; once closed, it hangs up on whoever calls.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that does not answer is one that the client sees hang up.
                let _ = connect(&shared, client);
            }
        });
        Ok(Self { port, state })
    }

    /// Leads to this server, `https://127.0.0.1:1234`; the URL of the detour.
    pub fn to(&self, server: &str) -> Result<String> {
        let address = server.strip_prefix("https://").ok_or("a server without https")?;
        let host = address.rsplit_once(':').ok_or("a server without a port")?.0;
        self.state.server.get_or_init(|| address.to_owned());
        Ok(format!("https://{host}:{}", self.port))
    }

    /// Ends all connections, and every later one at once.
    pub fn close(&self) {
        let open = self.state.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        for end in open.into_iter().flatten() {
            // One that is closed already is as it should be.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn connect(state: &State, client: TcpStream) -> std::io::Result<()> {
    let mut open = state.open.lock().unwrap_or_else(PoisonError::into_inner);
    let (Some(open), Some(address)) = (open.as_mut(), state.server.get()) else {
        return client.shutdown(Shutdown::Both);
    };
    let server = TcpStream::connect(address)?;
    open.extend([client.try_clone()?, server.try_clone()?]);
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        thread::spawn(move || pass(from, to));
    }
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // The other way may go on until it ends by itself.
    let _ = to.shutdown(Shutdown::Write);
}
