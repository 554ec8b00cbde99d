// Receives the load generator's connections · hands messages back, or to every subscriber · owns the side of gws in the
// comparison. Its form is the callback; a fan-out is its own Broadcaster, which encodes a message once.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/lxzan/gws"
)

var (
	subscribers sync.Map
	paths       = map[string]gws.Event{
		"/echo": echo{}, "/echo-callback": echo{}, "/fanout": fanOut{}, "/control": control{},
		"/idle": gws.BuiltinEventHandler{},
	}
)

type echo struct{ gws.BuiltinEventHandler }

func (echo) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer message.Close()
	_ = socket.WriteMessage(message.Opcode, message.Bytes())
}

type fanOut struct{ gws.BuiltinEventHandler }

func (fanOut) OnOpen(socket *gws.Conn)           { subscribers.Store(socket, nil) }
func (fanOut) OnClose(socket *gws.Conn, _ error) { subscribers.Delete(socket) }

type control struct{ gws.BuiltinEventHandler }

func (control) OnMessage(_ *gws.Conn, message *gws.Message) {
	defer message.Close()
	broadcaster := gws.NewBroadcaster(message.Opcode, message.Bytes())
	defer broadcaster.Close()
	subscribers.Range(func(socket, _ any) bool {
		_ = broadcaster.Broadcast(socket.(*gws.Conn))
		return true
	})
}

func main() {
	compression := flag.Bool("compression", false, "permessage-deflate, if the client offers it")
	flag.Parse()
	upgraders := map[string]*gws.Upgrader{}
	for path, handler := range paths {
		deflate := gws.PermessageDeflate{Enabled: *compression}
		upgraders[path] = gws.NewUpgrader(handler, &gws.ServerOption{PermessageDeflate: deflate})
	}
	// The backlog is the system's somaxconn.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port, os.Getpid())
	log.Fatal(http.Serve(listener, http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		upgrader, known := upgraders[request.URL.Path]
		if !known {
			http.NotFound(writer, request)
			return
		}
		socket, err := upgrader.Upgrade(writer, request)
		if err != nil {
			return
		}
		// In a goroutine, so that the request with its buffers can go.
		go socket.ReadLoop()
	})))
}
