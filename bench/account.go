package bench

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/tipt/tipt-go"
)

// An Account is an account to sign in with.
type Account struct {
	User     string `json:"user"`
	Device   string `json:"device"`
	Token    []byte `json:"token"`
	Password string `json:"password,omitempty"`
}

// AppendAccount appends an account as it stands in a file: a line of JSON.
func AppendAccount(b []byte, a Account) ([]byte, error) {
	line, err := json.Marshal(a)
	if err != nil {
		return b, fmt.Errorf("encode an account: %w", err)
	}
	return append(append(b, line...), '\n'), nil
}

func (a *Account) byToken(receive bool) tipt.SignInRequest {
	return tipt.SignInRequest{User: a.User, Device: a.Device, Token: a.Token, HasToken: true, Receive: receive}
}

func (a *Account) byPassword() tipt.SignInRequest {
	return tipt.SignInRequest{User: a.User, Device: a.Device, Password: a.Password, Receive: true}
}

// readAccounts reads up to n accounts. There may be fewer, or no file.
func readAccounts(file string, n int) ([]Account, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	defer f.Close()
	var accounts []Account
	decoder := json.NewDecoder(bufio.NewReader(f))
	for len(accounts) < n {
		var a Account
		err := decoder.Decode(&a)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && (a.User == "" || len(a.Token) != tipt.TokenSize) {
			err = errors.New("an account without a user or a token")
		}
		if err != nil {
			return nil, fmt.Errorf("read accounts from %s: %w", file, err)
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

// accounts returns n accounts on a node, registering those that its file lacks.
func (o *Options) accounts(ctx context.Context, node Node, t target, n int) ([]Account, error) {
	var accounts []Account
	if node.Accounts != "" {
		var err error
		if accounts, err = readAccounts(node.Accounts, n); err != nil {
			return nil, err
		}
	}
	if missing := n - len(accounts); missing > 0 {
		made, err := o.register(ctx, t, missing)
		if err != nil {
			return nil, err
		}
		if node.Accounts != "" {
			if err := keepAccounts(node.Accounts, made); err != nil {
				return nil, err
			}
		}
		accounts = append(accounts, made...)
	}
	o.shuffle(n, func(i, j int) { accounts[i], accounts[j] = accounts[j], accounts[i] })
	return accounts, nil
}

func keepAccounts(file string, accounts []Account) (err error) {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep accounts: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var b []byte
	for _, a := range accounts {
		if b, err = AppendAccount(b, a); err != nil {
			return err
		}
	}
	if _, err := f.Write(b); err != nil {
		return fmt.Errorf("keep accounts: %w", err)
	}
	return nil
}

// register makes n new accounts and signs each in for its token.
func (o *Options) register(ctx context.Context, t target, n int) ([]Account, error) {
	accounts := make([]Account, n)
	prefix := "bench-" + strings.ToLower(rand.Text()[:8])
	var done atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4) // the node hashes two passwords for each
	for i := range accounts {
		group.Go(func() error {
			a := Account{User: fmt.Sprintf("%s-%d", prefix, i), Device: "bench", Password: rand.Text()}
			if err := patiently(ctx, func() error { return a.register(ctx, t) }); err != nil {
				return err
			}
			accounts[i] = a
			o.progress("registering", int(done.Add(1)), n)
			return nil
		})
	}
	return accounts, group.Wait()
}

// patiently does f again for as long as the node is BUSY.
func patiently(ctx context.Context, f func() error) error {
	for {
		err := f()
		wait, again := busy(err)
		if !again {
			return err
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func (a *Account) register(ctx context.Context, t target) error {
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	r := tipt.RegisterRequest{User: a.User, Password: a.Password}
	// NAME_TAKEN: an attempt before, which only its sign-in failed.
	if _, err := ask(ctx, c, tipt.RequestRegister, r.Append(nil)); err != nil && !errors.Is(err, tipt.ErrNameTaken) {
		return fmt.Errorf("register %s: %w", a.User, err)
	}
	_, a.Token, err = signIn(ctx, c, a.byPassword())
	return err
}
