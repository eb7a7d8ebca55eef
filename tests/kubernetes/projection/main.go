// Program projection writes the files of a ConfigMap or Secret as a kubelet does, with the kubelet's own atomic writer.
//
//	projection TARGET    reads a line with the name of a folder, projects its files into TARGET, prints "written"; repeats
package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/kubernetes/pkg/volume/util"
)

func project(writer *util.AtomicWriter, source string) error {
	entries, err := os.ReadDir(source)
	if err != nil {
		return err
	}
	payload := make(map[string]util.FileProjection, len(entries))
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(source, entry.Name()))
		if err != nil {
			return err
		}
		payload[entry.Name()] = util.FileProjection{Data: data, Mode: 0o644}
	}
	return writer.Write(payload, func(string) error { return nil })
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: projection TARGET")
	}
	writer, err := util.NewAtomicWriter(os.Args[1], "projection")
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := project(writer, lines.Text()); err != nil {
			return err
		}
		fmt.Println("written")
	}
	return lines.Err()
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "projection:", err)
		os.Exit(1)
	}
}
