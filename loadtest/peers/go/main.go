// Gateway of the design that tutorials teach: goroutines that each take one job off a Redis list (BRPOP), a pool of
// HTTP/2 clients, a provider token (JWT, ES256) that is kept for 50 minutes. Only the standard library.
//
//	gateway TASK.json
//
// It ends when it has sent as many pushes as the task says, or when no job came for ten seconds, and then with code 1.
package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	tokenAge       = 50 * time.Minute
	idle           = 10 * time.Second
	requestTimeout = 30 * time.Second
)

type task struct {
	Origin      string `json:"origin"`
	CAFile      string `json:"ca_file"`
	Pushes      int64  `json:"pushes"`
	KeyFile     string `json:"key_file"`
	KeyID       string `json:"key_id"`
	TeamID      string `json:"team_id"`
	RedisSocket string `json:"redis_socket"`
	Queue       string `json:"queue"`
	Settings    struct {
		Goroutines int `json:"goroutines"`
		Clients    int `json:"clients"`
	} `json:"settings"`
}

type job struct {
	ID          string          `json:"id"`
	DeviceToken string          `json:"device_token"`
	Topic       string          `json:"topic"`
	Payload     json.RawMessage `json:"payload"`
}

// bearer signs a provider token and keeps it.
type bearer struct {
	key           *ecdsa.PrivateKey
	keyID, teamID string

	mutex  sync.RWMutex
	token  string
	issued time.Time
}

func newBearer(told task) *bearer {
	text := must(os.ReadFile(told.KeyFile))
	block, _ := pem.Decode(text)
	if block == nil {
		log.Fatalf("%s is no PEM file", told.KeyFile)
	}
	key := must(x509.ParsePKCS8PrivateKey(block.Bytes)).(*ecdsa.PrivateKey)
	return &bearer{key: key, keyID: told.KeyID, teamID: told.TeamID}
}

func (b *bearer) current() string {
	b.mutex.RLock()
	token, fresh := b.token, time.Since(b.issued) < tokenAge
	b.mutex.RUnlock()
	if fresh {
		return token
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if time.Since(b.issued) >= tokenAge {
		b.issued = time.Now()
		b.token = b.sign()
	}
	return b.token
}

func (b *bearer) sign() string {
	encode := base64.RawURLEncoding.EncodeToString
	header := must(json.Marshal(map[string]string{"alg": "ES256", "kid": b.keyID}))
	claims := must(json.Marshal(map[string]any{"iss": b.teamID, "iat": b.issued.Unix()}))
	message := encode(header) + "." + encode(claims)
	digest := sha256.Sum256([]byte(message))
	r, s, err := ecdsa.Sign(rand.Reader, b.key, digest[:])
	if err != nil {
		log.Fatal(err)
	}
	// JWS wants the two numbers side by side (RFC 7518, 3.4)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return message + "." + encode(signature)
}

// redisConnection speaks as much of Redis's protocol as BRPOP needs.
type redisConnection struct {
	socket net.Conn
	reader *bufio.Reader
}

var errEmpty = errors.New("no job")

func dialRedis(path string) (*redisConnection, error) {
	socket, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	return &redisConnection{socket, bufio.NewReader(socket)}, nil
}

func (c *redisConnection) brpop(key string, timeout time.Duration) ([]byte, error) {
	seconds := strconv.Itoa(int(timeout.Seconds()))
	_, err := fmt.Fprintf(c.socket, "*3\r\n$5\r\nBRPOP\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(seconds), seconds)
	if err != nil {
		return nil, err
	}
	head, err := c.line()
	if err != nil {
		return nil, err
	}
	if head == "*-1" || head == "$-1" {
		return nil, errEmpty
	}
	if head != "*2" {
		return nil, fmt.Errorf("redis answers %q", head)
	}
	if _, err := c.bulk(); err != nil {
		return nil, err
	}
	return c.bulk()
}

func (c *redisConnection) line() (string, error) {
	text, err := c.reader.ReadString('\n')
	return strings.TrimRight(text, "\r\n"), err
}

func (c *redisConnection) bulk() ([]byte, error) {
	head, err := c.line()
	if err != nil {
		return nil, err
	}
	size, err := strconv.Atoi(strings.TrimPrefix(head, "$"))
	if err != nil {
		return nil, err
	}
	content := make([]byte, size+2)
	_, err = io.ReadFull(c.reader, content)
	return content[:size], err
}

func newClients(told task) []*http.Client {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(must(os.ReadFile(told.CAFile))) {
		log.Fatalf("%s holds no certificate", told.CAFile)
	}
	clients := make([]*http.Client, told.Settings.Clients)
	for at := range clients {
		clients[at] = &http.Client{
			Timeout: requestTimeout,
			Transport: &http.Transport{
				TLSClientConfig:   &tls.Config{RootCAs: roots},
				ForceAttemptHTTP2: true,
			},
		}
	}
	return clients
}

func send(client *http.Client, origin string, b *bearer, each job) error {
	request, err := http.NewRequest("POST", origin+"/3/device/"+each.DeviceToken, bytes.NewReader(each.Payload))
	if err != nil {
		return err
	}
	request.Header.Set("authorization", "bearer "+b.current())
	request.Header.Set("apns-id", each.ID)
	request.Header.Set("apns-push-type", "alert")
	request.Header.Set("apns-topic", each.Topic)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

func main() {
	var told task
	if err := json.Unmarshal(must(os.ReadFile(os.Args[1])), &told); err != nil {
		log.Fatal(err)
	}
	b, clients := newBearer(told), newClients(told)
	var done, failed atomic.Int64
	var running sync.WaitGroup
	finished := make(chan struct{})
	for number := 0; number < told.Settings.Goroutines; number++ {
		client := clients[number%len(clients)]
		running.Add(1)
		go func() {
			defer running.Done()
			redis, err := dialRedis(told.RedisSocket)
			if err != nil {
				log.Fatal(err)
			}
			for {
				text, err := redis.brpop(told.Queue, idle)
				if errors.Is(err, errEmpty) {
					return
				}
				if err != nil {
					log.Fatal(err)
				}
				var each job
				if err := json.Unmarshal(text, &each); err != nil {
					log.Fatal(err)
				}
				if err := send(client, told.Origin, b, each); err != nil {
					log.Print(err)
					failed.Add(1)
				}
				if done.Add(1) == told.Pushes {
					close(finished)
				}
			}
		}()
	}
	go func() {
		running.Wait()
		log.Fatalf("%d of %d jobs came", done.Load(), told.Pushes)
	}()
	<-finished
	if failed.Load() > 0 {
		log.Fatalf("%d of %d pushes failed", failed.Load(), told.Pushes)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
