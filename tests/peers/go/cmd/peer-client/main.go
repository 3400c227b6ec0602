// peer-client calls the scriptable Peer service of tests/peers/peer.proto with grpc-go and prints
// one line of JSON for each call. It exits 0 when every call ended with a status, whatever the
// status, and 2 when it was asked for something it can't do.
package main

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	"legated/tests/peers/internal/pattern"
	"legated/tests/peers/peerpb"
)

// plan is what every call of this run does.
type plan struct {
	shape              string
	method             string
	timeout            time.Duration
	cancelAfter        time.Duration
	cancelAfterReplies int
	waitForReady       bool
	metadata           metadata.MD
	command            *peerpb.Command
	send               int
	sendInterval       time.Duration
	readDelay          time.Duration
	keepOpen           bool
	lockstep           bool
}

var methods = map[string]string{
	"unary":  "/legate.test.v1.Peer/Unary",
	"client": "/legate.test.v1.Peer/ClientStream",
	"server": "/legate.test.v1.Peer/ServerStream",
	"bidi":   "/legate.test.v1.Peer/Bidi",
}

// headerFlag collects -H key:value; the value of a "-bin" key is given in base64.
type headerFlag struct{ md metadata.MD }

func (h headerFlag) String() string { return "" }

func (h headerFlag) Set(text string) error {
	key, value, ok := strings.Cut(text, ":")
	if !ok || key == "" {
		return fmt.Errorf("want key:value")
	}
	value = strings.TrimPrefix(value, " ")
	if strings.HasSuffix(key, "-bin") {
		raw, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return fmt.Errorf("the value of a -bin key is given in base64: %w", err)
		}
		value = string(raw)
	}
	h.md.Append(key, value)
	return nil
}

func main() {
	p := plan{metadata: metadata.MD{}, command: &peerpb.Command{}}
	target := flag.String("target", "", "`HOST:PORT` or unix:PATH of the server")
	flag.StringVar(&p.shape, "shape", "unary", "unary, client, server or bidi")
	flag.StringVar(&p.method, "service-method", "", "`/SERVICE/METHOD` to call instead of Peer's own")
	count := flag.Int("count", 1, "calls, all at the same time")
	connections := flag.Int("connections", 1, "connections the calls are spread over")
	flag.DurationVar(&p.timeout, "timeout", 0, "deadline of each call (0: none)")
	flag.DurationVar(&p.cancelAfter, "cancel-after", 0, "cancel each call after this time (0: never)")
	flag.IntVar(&p.cancelAfterReplies, "cancel-after-replies", 0, "cancel each call once it has this many replies (0: never)")
	flag.BoolVar(&p.waitForReady, "wait-for-ready", false, "wait for the connection instead of failing")
	flag.Var(headerFlag{p.metadata}, "H", "request metadata `key:value`, repeated; base64 for -bin keys")
	commandJSON := flag.String("command", "{}", "the first Command, as protobuf `JSON`")
	payloadSize := flag.Int("payload-size", -1, "payload of each message, in bytes (-1: as in -command)")
	flag.IntVar(&p.send, "send", 1, "messages to send in the client and bidi shapes")
	flag.DurationVar(&p.sendInterval, "send-interval", 0, "pause before each message but the first")
	flag.DurationVar(&p.readDelay, "read-delay", 0, "pause before each read")
	flag.BoolVar(&p.keepOpen, "keep-open", false, "do not half-close after the last message")
	flag.BoolVar(&p.lockstep, "lockstep", false, "in the bidi shape, send the next message only after a reply")
	window := flag.Int("window", 0, "fixed flow-control window in `BYTES`, at least 65536 (0: grpc-go adapts it)")
	flag.Parse()

	if flag.NArg() > 0 {
		usage("unexpected argument %q", flag.Arg(0))
	}
	if *target == "" {
		usage("-target is missing")
	}
	if *count < 1 || *connections < 1 {
		usage("-count and -connections are at least 1")
	}
	if methods[p.shape] == "" {
		usage("-shape is one of unary, client, server and bidi, not %q", p.shape)
	}
	if p.method == "" {
		p.method = methods[p.shape]
	}
	if err := protojson.Unmarshal([]byte(*commandJSON), p.command); err != nil {
		usage("-command: %v", err)
	}
	if *payloadSize >= 0 {
		p.command.Payload = pattern.Bytes(*payloadSize)
	}

	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
	}
	if *window > 0 {
		options = append(options, grpc.WithInitialWindowSize(int32(*window)), grpc.WithInitialConnWindowSize(int32(*window)))
	}
	conns := make([]*grpc.ClientConn, *connections)
	for i := range conns {
		conn, err := grpc.Dial(*target, options...)
		if err != nil {
			usage("%v", err)
		}
		defer conn.Close()
		conns[i] = conn
	}

	var wg sync.WaitGroup
	var printing sync.Mutex
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for i := 0; i < *count; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			result := p.run(conns[i%len(conns)])
			result.Call = i
			printing.Lock()
			defer printing.Unlock()
			if err := out.Encode(result); err != nil {
				usage("%v", err)
			}
		}(i)
	}
	wg.Wait()
}

func usage(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "peer-client: "+format+"\n", args...)
	os.Exit(2)
}
