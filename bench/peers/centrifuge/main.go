// Receives the load generator's connections · hands messages back, or to every subscriber · owns the side of centrifuge in
// the comparison. Clients speak its own protocol: an echo is an RPC, a publication a message of the client's that the
// server publishes. One message a frame, as the load generator counts frames; left to itself it joins what waits.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/centrifugal/centrifuge"
)

const channel = "bench"

func main() {
	compression := flag.Bool("compression", false, "permessage-deflate, if the client offers it")
	flag.Parse()
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(ctx context.Context, _ centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		reply := centrifuge.ConnectReply{MaxMessagesInFrame: 1}
		if credentials, known := centrifuge.GetCredentials(ctx); known && credentials.UserID == "/fanout" {
			reply.Subscriptions = map[string]centrifuge.SubscribeOptions{channel: {}}
		}
		return reply, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnRPC(func(event centrifuge.RPCEvent, answer centrifuge.RPCCallback) {
			answer(centrifuge.RPCReply{Data: event.Data}, nil)
		})
		client.OnMessage(func(event centrifuge.MessageEvent) {
			if _, err := node.Publish(channel, event.Data); err != nil {
				log.Print(err)
			}
		})
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	handler := centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{Compression: *compression})

	// The backlog is the system's somaxconn.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port, os.Getpid())
	log.Fatal(http.Serve(listener, http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		// The user is the path, which decides what it is subscribed to.
		credentials := &centrifuge.Credentials{UserID: request.URL.Path}
		ctx := centrifuge.SetCredentials(request.Context(), credentials)
		handler.ServeHTTP(writer, request.WithContext(ctx))
	})))
}
