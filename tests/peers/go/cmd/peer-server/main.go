// peer-server serves the scriptable Peer service of tests/peers/peer.proto, and the Greeter of
// examples/greeter/greeter.proto, with grpc-go. It prints "listening PORT" once it accepts calls.
package main

import (
	"crypto/tls"
	"crypto/x509"
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
	"google.golang.org/grpc/credentials"

	"legated/tests/peers/greeterpb"
	"legated/tests/peers/peerpb"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("peer-server: ")
	addr := flag.String("addr", "127.0.0.1:0", "`HOST:PORT` or unix:PATH to listen on")
	window := flag.Int("window", 0, "fixed flow-control window in `BYTES` for streams and connections, at least 65536 (0: grpc-go adapts it)")
	maxStreams := flag.Uint("max-streams", 0, "MAX_CONCURRENT_STREAMS (0: no limit)")
	certificate := flag.String("tls-cert", "", "PEM `FILE` with the certificate chain; TLS instead of plaintext")
	key := flag.String("tls-key", "", "PEM `FILE` with its key")
	clientRoots := flag.String("tls-client-ca", "", "PEM `FILE`: a client must show a certificate of these authorities")
	tls12 := flag.Bool("tls12", false, "TLS 1.2 at most, in which a client certificate is judged within the handshake")
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
	if *certificate != "" {
		config, err := tlsConfig(*certificate, *key, *clientRoots)
		if err != nil {
			log.Fatal(err)
		}
		if *tls12 {
			config.MaxVersion = tls.VersionTLS12
		}
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
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

func tlsConfig(certificate, key, clientRoots string) (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{own}}
	if clientRoots == "" {
		return config, nil
	}
	pem, err := os.ReadFile(clientRoots)
	if err != nil {
		return nil, err
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", clientRoots)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}
