// peer-server serves the scriptable Peer service of tests/peers/peer.proto, and the Greeter of
// examples/greeter/greeter.proto, with grpc-go. It prints "listening PORT" once it accepts calls.
package main

import (
	"flag"
	"fmt"
	"log"
	"math"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"google.golang.org/grpc"

	"legated/tests/peers/greeterpb"
	"legated/tests/peers/peerpb"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("peer-server: ")
	addr := flag.String("addr", "127.0.0.1:0", "`HOST:PORT` or unix:PATH to listen on")
	window := flag.Int("window", 0, "fixed flow-control window in `BYTES` for streams and connections, at least 65536 (0: grpc-go adapts it)")
	maxStreams := flag.Uint("max-streams", 0, "MAX_CONCURRENT_STREAMS (0: no limit)")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q", flag.Arg(0))
	}

	listener, name, err := listen(*addr)
	if err != nil {
		log.Fatal(err)
	}
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(math.MaxInt32),
		grpc.MaxSendMsgSize(math.MaxInt32),
	}
	if *window > 0 {
		options = append(options, grpc.InitialWindowSize(int32(*window)), grpc.InitialConnWindowSize(int32(*window)))
	}
	if *maxStreams > 0 {
		options = append(options, grpc.MaxConcurrentStreams(uint32(*maxStreams)))
	}
	server := grpc.NewServer(options...)
	peerpb.RegisterPeerServer(server, &peer{})
	greeterpb.RegisterGreeterServer(server, &greeter{})

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-stop
		server.Stop()
	}()

	fmt.Println("listening", name)
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

// listen returns the listener and what a client needs to find it: the port, or unix:PATH.
func listen(addr string) (net.Listener, string, error) {
	if path := strings.TrimPrefix(addr, "unix:"); path != addr {
		listener, err := net.Listen("unix", path)
		return listener, addr, err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, "", err
	}
	return listener, fmt.Sprint(listener.Addr().(*net.TCPAddr).Port), nil
}
