//! HTTP/1.1 from the server side: threads, keep-alive, TLS, state per connection, faults.
