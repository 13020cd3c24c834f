package main

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// wire is a listener that counts what its connections carry of HTTP, heads included, TLS not. Connections of the tests
// themselves do not count.
type wire struct {
	net.Listener

	lock    sync.Mutex
	in, out int
}

type counted struct {
	net.Conn
	wire    *wire
	in, out int
	test    bool
}

type connectionKey struct{}

func (w *wire) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &counted{Conn: conn, wire: w}, nil
}

// context lets the handler find the connection that a request came on.
func (w *wire) context(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

func (w *wire) sums() (in, out int) {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.in, w.out
}

func (w *wire) reset() {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.in, w.out = 0, 0
}

// isTest takes a connection out of the sums: it is a test's own.
func isTest(r *http.Request) {
	conn, ok := r.Context().Value(connectionKey{}).(*counted)
	if !ok {
		return
	}
	conn.wire.lock.Lock()
	defer conn.wire.lock.Unlock()
	if !conn.test {
		conn.test = true
		conn.wire.in -= conn.in
		conn.wire.out -= conn.out
	}
}

func (c *counted) count(in, out int) {
	c.wire.lock.Lock()
	defer c.wire.lock.Unlock()
	if !c.test {
		c.in, c.out = c.in+in, c.out+out
		c.wire.in, c.wire.out = c.wire.in+in, c.wire.out+out
	}
}

func (c *counted) Read(data []byte) (int, error) {
	n, err := c.Conn.Read(data)
	c.count(n, 0)
	return n, err
}

// Write counts first: a client that has its answer finds it counted.
func (c *counted) Write(data []byte) (int, error) {
	c.count(0, len(data))
	return c.Conn.Write(data)
}
