module zig-ai-aks/toolchain/kube-score

go 1.26.0

require github.com/zegl/kube-score v1.20.0
