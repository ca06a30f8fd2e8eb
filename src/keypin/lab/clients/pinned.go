// Go's net/http with VerifyConnection, which runs on every connection, before a client certificate
// or a request is sent: pinned URL SECOND_URL CAFILE CURL_PINS PROXY [CLIENT_CERTIFICATE]
package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

func main() {
	authorities, err := os.ReadFile(os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authorities)
	pins := map[string]bool{}
	for _, pin := range strings.Split(os.Args[4], ";") {
		pins[strings.TrimPrefix(pin, "sha256//")] = true
	}
	config := &tls.Config{
		RootCAs: roots,
		VerifyConnection: func(state tls.ConnectionState) error {
			digest := sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo)
			if !pins[base64.StdEncoding.EncodeToString(digest[:])] {
				return errors.New("the public key is not pinned")
			}
			return nil
		},
	}
	if len(os.Args) > 6 {
		own, err := tls.LoadX509KeyPair(os.Args[6], os.Args[6])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		config.Certificates = []tls.Certificate{own}
	}
	// http.ProxyFromEnvironment uses none for localhost
	var proxy func(*http.Request) (*url.URL, error)
	if os.Args[5] != "" {
		address, err := url.Parse(os.Args[5])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		proxy = http.ProxyURL(address)
	}
	client := &http.Client{
		Transport: &http.Transport{
			Proxy:             proxy,
			TLSClientConfig:   config,
			ForceAttemptHTTP2: true,
		},
		Timeout: 4 * time.Second,
	}
	failed := false
	for _, address := range os.Args[1:3] {
		if err := call(client, address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

func call(client *http.Client, address string) error {
	request, err := http.NewRequest("GET", address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer what only the pinned server may learn")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		return errors.New(response.Status)
	}
	return nil
}
