// health-client asks a gRPC server for its health, as gRPC's own Go code does:
//
//	health-client --target HOST:PORT [--service NAME]            prints the state, or the error
//	health-client --target HOST:PORT [--service NAME] --watch    a line for each change, then how it ended
//	health-client --target HOST:PORT [--service NAME] --connect  a line for each state of a channel that
//	                                                             uses healthy servers only
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func main() {
	target := flag.String("target", "", "the server")
	service := flag.String("service", "", "package.Service; empty: the server")
	watch := flag.Bool("watch", false, "go on until the server ends it")
	connect := flag.Bool("connect", false, "show the channel's state instead, until it is shut down")
	flag.Parse()
	if err := run(*target, *service, *watch, *connect); err != nil {
		fmt.Println("ended", status.Code(err), status.Convert(err).Message())
		if !*watch {
			os.Exit(1)
		}
	}
}

func run(target, service string, watch, connect bool) error {
	config := fmt.Sprintf(`{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":%q}}`, service)
	if !connect {
		config = "{}"
	}
	conn, err := grpc.Dial(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(config))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx := context.Background()
	client := grpc_health_v1.NewHealthClient(conn)
	request := &grpc_health_v1.HealthCheckRequest{Service: service}
	if connect {
		conn.Connect()
		for state := conn.GetState(); ; state = conn.GetState() {
			fmt.Println(state)
			if state == connectivity.Shutdown || !conn.WaitForStateChange(ctx, state) {
				return nil
			}
		}
	}
	if !watch {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		response, err := client.Check(ctx, request)
		if err == nil {
			fmt.Println(response.Status)
		}
		return err
	}
	stream, err := client.Watch(ctx, request)
	for err == nil {
		var response *grpc_health_v1.HealthCheckResponse
		if response, err = stream.Recv(); err == nil {
			fmt.Println(response.Status)
		}
	}
	return err
}
