package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"legated/tests/peers/greeterpb"
)

type greeter struct {
	greeterpb.UnimplementedGreeterServer
}

func hello(who string) string { return "Hello, " + who + "!" }

func (*greeter) SayHello(_ context.Context, request *greeterpb.HelloRequest) (*greeterpb.HelloReply, error) {
	return &greeterpb.HelloReply{Message: hello(request.Name)}, nil
}

func (*greeter) CollectHellos(stream greeterpb.Greeter_CollectHellosServer) error {
	var names []string
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&greeterpb.HelloReply{Message: hello(strings.Join(names, ", "))})
		}
		if err != nil {
			return err
		}
		names = append(names, request.Name)
	}
}

func (*greeter) ListHellos(request *greeterpb.HelloRequest, stream greeterpb.Greeter_ListHellosServer) error {
	for i := uint32(1); i <= request.Count; i++ {
		message := fmt.Sprintf("%s (%d/%d)", hello(request.Name), i, request.Count)
		if err := stream.Send(&greeterpb.HelloReply{Message: message}); err != nil {
			return err
		}
	}
	return nil
}

func (*greeter) Chat(stream greeterpb.Greeter_ChatServer) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&greeterpb.HelloReply{Message: hello(request.Name)}); err != nil {
			return err
		}
	}
}
