package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"legated/tests/peers/internal/pattern"
	"legated/tests/peers/peerpb"
)

// peer does what the first Command of each call says; peer.proto has the rules.
type peer struct {
	peerpb.UnimplementedPeerServer
	cancelled uint64 // atomic
}

func (p *peer) Unary(ctx context.Context, first *peerpb.Command) (*peerpb.Reply, error) {
	c, err := p.begin(ctx, first)
	if err != nil {
		return nil, err
	}
	c.received = 1
	return c.answer(first.Payload)
}

func (p *peer) ClientStream(stream peerpb.Peer_ClientStreamServer) error {
	var c *call
	var payload bytes.Buffer
	received := uint32(0)
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		received++
		payload.Write(message.Payload)
		if c == nil {
			if c, err = p.begin(stream.Context(), message); err != nil {
				return err
			}
			if message.Hang {
				return c.untilCancelled()
			}
		}
	}
	if c == nil {
		return stream.SendAndClose(&peerpb.Reply{CancelledSeen: atomic.LoadUint64(&p.cancelled)})
	}
	c.received = received
	reply, err := c.answer(payload.Bytes())
	if err != nil {
		return err
	}
	return stream.SendAndClose(reply)
}

func (p *peer) ServerStream(first *peerpb.Command, stream peerpb.Peer_ServerStreamServer) error {
	c, err := p.begin(stream.Context(), first)
	if err != nil {
		return err
	}
	c.received = 1
	for i := uint32(0); i < first.ResponseCount; i++ {
		if err := c.delay(); err != nil {
			return err
		}
		if err := stream.Send(c.reply(first.Payload)); err != nil {
			return err
		}
	}
	return c.end()
}

func (p *peer) Bidi(stream peerpb.Peer_BidiServer) error {
	var c *call
	received := uint32(0)
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		received++
		if c == nil {
			if c, err = p.begin(stream.Context(), message); err != nil {
				return err
			}
			if message.Hang {
				return c.untilCancelled()
			}
		}
		c.received = received
		if c.repliedEnough() {
			break
		}
		if err := c.delay(); err != nil {
			return err
		}
		if err := stream.Send(c.reply(message.Payload)); err != nil {
			return err
		}
		if c.repliedEnough() {
			break
		}
	}
	if c == nil {
		return nil
	}
	return c.end()
}

// call is one call's script and how far it got.
type call struct {
	peer     *peer
	ctx      context.Context
	script   *peerpb.Command
	received uint32
	replied  uint32
}

// begin sets headers and trailers as the call's first Command asks.
func (p *peer) begin(ctx context.Context, script *peerpb.Command) (*call, error) {
	c := &call{peer: p, ctx: ctx, script: script}

	headers := metadata.MD{}
	if script.EchoMetadata {
		incoming, _ := metadata.FromIncomingContext(ctx)
		for key, values := range incoming {
			headers.Append("x-echo-"+strings.TrimPrefix(key, ":"), values...)
		}
		if deadline, ok := ctx.Deadline(); ok {
			headers.Set("x-deadline-ms", strconv.FormatInt(time.Until(deadline).Milliseconds(), 10))
		}
	}
	appendAll(headers, script.Headers)
	var err error
	if script.HeadersFirst {
		err = grpc.SendHeader(ctx, headers)
	} else if headers.Len() > 0 {
		err = grpc.SetHeader(ctx, headers)
	}
	if err != nil {
		return nil, err
	}

	trailers := metadata.MD{}
	appendAll(trailers, script.Trailers)
	if len(script.StatusDetails) > 0 {
		trailers.Set("grpc-status-details-bin", string(script.StatusDetails))
	}
	return c, grpc.SetTrailer(ctx, trailers)
}

func appendAll(md metadata.MD, headers []*peerpb.Header) {
	for _, h := range headers {
		md.Append(h.Key, string(h.Value))
	}
}

// answer is the one reply, or the status, of the shapes that answer once.
func (c *call) answer(echo []byte) (*peerpb.Reply, error) {
	if c.script.Hang || c.script.StatusCode != 0 {
		return nil, c.end()
	}
	if err := c.delay(); err != nil {
		return nil, err
	}
	return c.reply(echo), nil
}

func (c *call) reply(echo []byte) *peerpb.Reply {
	if c.script.ResponseSize > 0 {
		echo = pattern.Bytes(int(c.script.ResponseSize))
	}
	reply := &peerpb.Reply{
		Payload:          echo,
		Index:            c.replied,
		CancelledSeen:    atomic.LoadUint64(&c.peer.cancelled),
		MessagesReceived: c.received,
	}
	c.replied++
	return reply
}

// repliedEnough says whether the script ends this Bidi call now, half-closed or not.
func (c *call) repliedEnough() bool {
	return c.script.StatusCode != 0 && c.replied >= c.script.ResponseCount
}

// end waits as the script says and returns the call's status.
func (c *call) end() error {
	if c.script.Hang {
		return c.untilCancelled()
	}
	if c.replied == 0 {
		if err := c.delay(); err != nil {
			return err
		}
	}
	if c.script.StatusCode == 0 {
		return nil
	}
	return status.New(codes.Code(c.script.StatusCode), c.script.StatusMessage).Err()
}

func (c *call) delay() error {
	if c.script.DelayMs == 0 {
		return nil
	}
	timer := time.NewTimer(time.Duration(c.script.DelayMs) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.ctx.Done():
		return c.cancelled()
	}
}

func (c *call) untilCancelled() error {
	<-c.ctx.Done()
	return c.cancelled()
}

func (c *call) cancelled() error {
	atomic.AddUint64(&c.peer.cancelled, 1)
	return status.FromContextError(c.ctx.Err()).Err()
}
