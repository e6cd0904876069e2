//! `control`: the control port on stdin and stdout, for an exec where port-forward is not allowed.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpStream},
    os::fd::AsFd,
};

/// Connects stdin and stdout with the control port until the agent has answered everything and closed.
pub(crate) fn run(port: u16) -> io::Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    let mut to_agent = stream.try_clone()?;
    let mut from_agent = stream;
    // As files: the standard handles would hold back what does not end in a newline.
    let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    std::thread::spawn(move || {
        // The end of stdin is the end of the requests, not of the answers.
        let _ = copy(&mut stdin, &mut to_agent);
        let _ = to_agent.shutdown(Shutdown::Write);
    });
    copy(&mut from_agent, &mut stdout)
}

/// Copies until the end. Not `io::copy`: that splices, and a splice holds the pipe's lock while it waits for the
/// socket, so whoever reads our stdout would block even on what is there already.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return to.flush(),
            Ok(read) => to.write_all(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
