//! Requests out of bytes, responses into bytes.

use std::io::{self, ErrorKind, Read, Write};

use super::{Request, Response};

/// The largest head of a request.
const HEAD_LIMIT: usize = 256 << 10;
/// The largest body of a request.
const BODY_LIMIT: usize = 32 << 20;

/// The next request, and how many bytes it took. `None`: the client has closed the connection between two requests. What was
/// read beyond the request stays in `buffer`.
pub(super) fn read(
    stream: &mut (impl Read + Write + ?Sized),
    buffer: &mut Vec<u8>,
) -> io::Result<Option<(Request, usize)>> {
    let (mut request, head) = loop {
        if let Some(parsed) = head(buffer)? {
            break parsed;
        }
        if buffer.len() > HEAD_LIMIT {
            return Err(bad("the head is too long"));
        }
        if !more(stream, buffer)? {
            return if buffer.is_empty() {
                Ok(None)
            } else {
                Err(ErrorKind::UnexpectedEof.into())
            };
        }
    };
    buffer.drain(..head);
    if request
        .header("expect")
        .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        stream.flush()?;
    }
    let coding = request.header("transfer-encoding");
    let body = if coding.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        chunks(stream, buffer, &mut request.body)?
    } else {
        let length = request.header("content-length").unwrap_or("0").parse();
        let length: usize = length.map_err(|_| bad("content-length"))?;
        fill(stream, buffer, length)?;
        request.body = buffer.drain(..length).collect();
        length
    };
    Ok(Some((request, head + body)))
}

fn head(buffer: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(buffer).map_err(io::Error::other)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let (method, target) = (
        parsed.method.unwrap_or_default(),
        parsed.path.unwrap_or_default(),
    );
    let headers = parsed.headers.iter().map(|line| {
        let value = String::from_utf8_lossy(line.value).into_owned();
        (line.name.to_ascii_lowercase(), value)
    });
    Ok(Some((
        Request::new(method, target, headers.collect(), Vec::new()),
        length,
    )))
}

/// Reads a body in chunks; says how many bytes it took on the way.
fn chunks(
    stream: &mut (impl Read + ?Sized),
    buffer: &mut Vec<u8>,
    body: &mut Vec<u8>,
) -> io::Result<usize> {
    let mut taken = 0;
    loop {
        let (start, size) = loop {
            match httparse::parse_chunk_size(buffer).map_err(|_| bad("chunk size"))? {
                httparse::Status::Complete(found) => break found,
                httparse::Status::Partial if more(stream, buffer)? => {}
                httparse::Status::Partial => return Err(ErrorKind::UnexpectedEof.into()),
            }
        };
        let size = usize::try_from(size).map_err(|_| bad("chunk size"))?;
        if body.len().saturating_add(size) > BODY_LIMIT {
            return Err(bad("the body is too large"));
        }
        fill(stream, buffer, start + size + 2)?;
        body.extend_from_slice(&buffer[start..start + size]);
        buffer.drain(..start + size + 2);
        taken += start + size + 2;
        if size == 0 {
            return Ok(taken);
        }
    }
}

/// Reads until the buffer has that many bytes.
fn fill(stream: &mut (impl Read + ?Sized), buffer: &mut Vec<u8>, length: usize) -> io::Result<()> {
    if length > BODY_LIMIT {
        return Err(bad("the body is too large"));
    }
    while buffer.len() < length {
        if !more(stream, buffer)? {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn more(stream: &mut (impl Read + ?Sized), buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 16 << 10];
    let count = match stream.read(&mut chunk) {
        Ok(count) => count,
        // Clients need not announce the end of TLS.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
        Err(error) => return Err(error),
    };
    buffer.extend_from_slice(&chunk[..count]);
    Ok(count > 0)
}

/// Takes what comes until the client goes.
pub(super) fn drain(stream: &mut (impl Read + ?Sized)) {
    let mut unheard = Vec::new();
    while matches!(more(stream, &mut unheard), Ok(true)) {
        unheard.clear();
    }
}

/// A response as bytes.
pub(super) fn encode(response: &Response, method: &str) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 {} {}\r\n",
        response.status,
        reason(response.status)
    )
    .into_bytes();
    for (name, value) in &response.headers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    if response.close {
        bytes.extend_from_slice(b"Connection: close\r\n");
    }
    let bodiless = matches!(response.status, 204 | 304);
    if response.chunked {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in response.body.chunks(1000) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        return bytes;
    }
    if !bodiless {
        bytes.extend(format!("Content-Length: {}\r\n", response.body.len()).bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    if method != "HEAD" && !bodiless {
        bytes.extend_from_slice(&response.body);
    }
    bytes
}

pub(super) fn write(
    stream: &mut (impl Write + ?Sized),
    response: &Response,
    method: &str,
) -> io::Result<()> {
    stream.write_all(&encode(response, method))?;
    stream.flush()
}

/// Where the body of an encoded response begins.
pub(super) fn body_at(bytes: &[u8]) -> usize {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    end.map_or(bytes.len(), |end| end + 4)
}

/// Whether the client wants the connection closed after the answer.
pub(super) fn wants_close(request: &Request) -> bool {
    request
        .header("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 | 302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn requests_in_a_row() {
        let sent = b"POST /a%20b?x=%31 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
            PUT /c HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let (mut stream, mut buffer) = (Cursor::new(sent.to_vec()), Vec::new());
        let mut next = || read(&mut stream, &mut buffer).unwrap();
        let (request, bytes) = next().unwrap();
        assert_eq!((&*request.path, &*request.body), ("/a b", &b"abc"[..]));
        assert_eq!(request.parameter("x"), Some("1"));
        assert_eq!(bytes, 71);
        assert_eq!(next().unwrap().0.body, b"hi");
        assert_eq!(next().unwrap().0.header("HOST"), Some("x"));
        assert!(next().is_none());
    }
}
