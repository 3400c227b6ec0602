package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"legated/tests/peers/peerpb"
)

// result is the line printed for a call. Values of "-bin" keys are in base64.
type result struct {
	Call       int                 `json:"call"`
	Code       uint32              `json:"code"`
	Message    string              `json:"message"`
	DetailsB64 string              `json:"details_b64"`
	Headers    map[string][]string `json:"headers"`
	Trailers   map[string][]string `json:"trailers"`
	Replies    []reply             `json:"replies"`
	ElapsedMs  float64             `json:"elapsed_ms"`
}

// reply describes one message; payload_b64 only if the payload has at most 256 bytes.
type reply struct {
	Size             int     `json:"size"`
	SHA256           string  `json:"sha256"`
	PayloadB64       *string `json:"payload_b64,omitempty"`
	Index            uint32  `json:"index"`
	CancelledSeen    uint64  `json:"cancelled_seen"`
	MessagesReceived uint32  `json:"messages_received"`
	AtMs             float64 `json:"at_ms"`
}

func (p *plan) run(conn *grpc.ClientConn) *result {
	start := time.Now()
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(context.Background(), p.metadata))
	defer cancel()
	if p.timeout > 0 {
		var release context.CancelFunc
		ctx, release = context.WithDeadline(ctx, start.Add(p.timeout))
		defer release()
	}
	if p.cancelAfter > 0 {
		defer time.AfterFunc(p.cancelAfter, cancel).Stop()
	}

	r := &result{Replies: []reply{}}
	headers, trailers, err := p.exchange(ctx, conn, func(m *peerpb.Reply) {
		r.Replies = append(r.Replies, describe(m, start))
		if len(r.Replies) == p.cancelAfterReplies {
			cancel()
		}
	})
	r.ElapsedMs = milliseconds(start)
	s := status.Convert(err)
	r.Code, r.Message = uint32(s.Code()), s.Message()
	if details := trailers.Get("grpc-status-details-bin"); len(details) > 0 {
		r.DetailsB64 = base64.StdEncoding.EncodeToString([]byte(details[0]))
	}
	r.Headers, r.Trailers = printable(headers), printable(trailers)
	return r
}

// exchange makes the call and returns how it ended; a nil error is the status OK.
func (p *plan) exchange(ctx context.Context, conn *grpc.ClientConn, onReply func(*peerpb.Reply)) (headers, trailers metadata.MD, err error) {
	if p.shape == "unary" {
		m := &peerpb.Reply{}
		err = conn.Invoke(ctx, p.method, p.command, m,
			grpc.Header(&headers), grpc.Trailer(&trailers), grpc.WaitForReady(p.waitForReady))
		if err == nil {
			onReply(m)
		}
		return headers, trailers, err
	}

	desc := &grpc.StreamDesc{ClientStreams: p.shape != "server", ServerStreams: p.shape != "client"}
	stream, err := conn.NewStream(ctx, desc, p.method, grpc.WaitForReady(p.waitForReady))
	if err != nil {
		return nil, nil, err
	}
	replied := make(chan struct{}, 1) // paces the sender in lockstep
	go p.sendAll(ctx, stream, replied)
	err = p.receiveAll(ctx, stream, func(m *peerpb.Reply) {
		onReply(m)
		select {
		case replied <- struct{}{}:
		default:
		}
	})
	headers, _ = stream.Header()
	return headers, stream.Trailer(), err
}

func (p *plan) sendAll(ctx context.Context, stream grpc.ClientStream, replied <-chan struct{}) {
	count := p.send
	if p.shape == "server" {
		count = 1
	}
	message := p.command
	for i := 0; i < count; i++ {
		if i > 0 && (!pause(ctx, p.sendInterval) || p.lockstep && !wait(ctx, replied)) {
			return
		}
		if stream.SendMsg(message) != nil {
			return // the status comes from the receiving side
		}
		message = &peerpb.Command{Payload: p.command.Payload}
	}
	if !p.keepOpen {
		_ = stream.CloseSend()
	}
}

func (p *plan) receiveAll(ctx context.Context, stream grpc.ClientStream, onReply func(*peerpb.Reply)) error {
	for {
		pause(ctx, p.readDelay)
		m := &peerpb.Reply{}
		err := stream.RecvMsg(m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		onReply(m)
		if p.shape == "client" {
			return nil // RecvMsg has read the status as well
		}
	}
}

// pause reports whether the call may go on.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func wait(ctx context.Context, replied <-chan struct{}) bool {
	select {
	case <-replied:
		return true
	case <-ctx.Done():
		return false
	}
}

func describe(m *peerpb.Reply, start time.Time) reply {
	sum := sha256.Sum256(m.Payload)
	d := reply{
		Size:             len(m.Payload),
		SHA256:           hex.EncodeToString(sum[:]),
		Index:            m.Index,
		CancelledSeen:    m.CancelledSeen,
		MessagesReceived: m.MessagesReceived,
		AtMs:             milliseconds(start),
	}
	if len(m.Payload) <= 256 {
		d.PayloadB64 = proto.String(base64.StdEncoding.EncodeToString(m.Payload))
	}
	return d
}

func milliseconds(start time.Time) float64 {
	return float64(time.Since(start).Microseconds()) / 1000
}

func printable(md metadata.MD) map[string][]string {
	out := map[string][]string{}
	for key, values := range md {
		for _, value := range values {
			if strings.HasSuffix(key, "-bin") {
				value = base64.StdEncoding.EncodeToString([]byte(value))
			}
			out[key] = append(out[key], value)
		}
	}
	return out
}
