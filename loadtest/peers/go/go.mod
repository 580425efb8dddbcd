module clarion.example/peers/gateway

go 1.21
