#!/usr/bin/env bash
# Qwen2.5-Coder-0.5B-Instruct through the stages: cold start from its own samples, beta, PAPO, and the sequential baselines.
#
#   DATA=folder recipes/qwen2.5-coder-0.5b/run.sh STEP...
#
# Steps, in their order: data prepare serve evaluate-base sample assemble sft evaluate-beta evaluate-sft-sequential papo evaluate-papo score stop.
# The other arms of reinforcement learning: rl-outcome-parallel rl-outcome-sequential rl-set-sequential, and evaluate-rl-… of each.
# A step that was done is not done again where its output is there; samples go on where they stopped. $DATA holds
# gsm8k_train.jsonl, gsm8k_test.jsonl, math_train.json and math500.jsonl as published. Everything is written under $RUN.
#
#   SOURCE     the base: hub name, directory or GGUF file    GPUS        one, or two of them (default "0 1")
#   RUN        where to write                                 PROBLEMS    training problems to sample (default 3000)
#   SAMPLES    solutions to each (default 8)                  CLIENTS     sampling processes a server (default 4)
#   MINUTES    of an arm (default 20)                         FLAGS       flags of the SGLang servers
#   EVALUATED  problems sampled 8 times (default 400)         ESPALIER    the command (default: the installed package)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source=${SOURCE:-Qwen/Qwen2.5-Coder-0.5B-Instruct}
run=$(realpath -m "${RUN:-runs/qwen2.5-coder-0.5b}")
read -ra gpus <<<"${GPUS:-0 1}"
read -ra flags <<<"${FLAGS:---attention-backend triton --sampling-backend pytorch --grammar-backend none --mem-fraction-static 0.3 --context-length 4096 --max-running-requests 768 --cuda-graph-bs 1 8 32 64 128 192 256 384 512 640 768 --disable-piecewise-cuda-graph --stream-interval 32}"
espalier() { ${ESPALIER:-python3 -m espalier.solver.cli.main} "$@"; }
port() { echo $((30000 + $1)); }
problems=${PROBLEMS:-3000} samples=${SAMPLES:-8} clients=${CLIENTS:-4} minutes=${MINUTES:-20}
evaluated=${EVALUATED:-400}
mkdir -p "$run/responses"
cd "$run"

# draw NAME FILE SERVERS COUNT MODE ARGUMENTS...: sample the first problems of a file with several clients a server.
draw() {
  local name=$1 file=$2 servers=$3 count=$4 mode=$5; shift 5
  local at_once=768; [[ $mode == sequential ]] || at_once=128  # a fork holds a row for each step
  local parts=$((clients * $(wc -w <<<"$servers"))) part=0 size
  size=$(((count + parts - 1) / parts))
  local pids=()
  for server in $servers; do
    for _ in $(seq "$clients"); do
      if ((part * size < count)); then
        espalier data sample "$file" --engine "sglang://127.0.0.1:$(port "$server")" --first $((part * size)) \
          --limit $((size < count - part * size ? size : count - part * size)) --mode "$mode" --at-once $((at_once / clients)) \
          --responses "responses/$name.$part.jsonl" "$@" >"responses/$name.$part.log" 2>&1 &
        pids+=($!)
      fi
      part=$((part + 1))
    done
  done
  for pid in "${pids[@]}"; do wait "$pid" || { tail -n 3 responses/"$name".*.log; return 1; }; done
}

of() { printf -- '--responses %s ' responses/"$1".[0-9]*.jsonl; }

# evaluate NAME MODEL MODE [ARGUMENTS...]: on all servers: greedy on all of GSM8K, 8 samples of the first problems, greedy on MATH-500.
evaluate() {
  local name=$1 model=$2 mode=$3; shift 3
  local pids=() gpu
  for gpu in "${gpus[@]}"; do load "$gpu" "$model"; done
  draw "$name-gsm8k-8" gsm8k-test.jsonl "${gpus[*]}" "$evaluated" "$mode" --k 8 --temperature 1 --max-tokens 2048 --seed 7 "$@" & pids+=($!)
  draw "$name-gsm8k-greedy" gsm8k-test.jsonl "${gpus[*]}" "${GREEDY:-1319}" "$mode" --k 1 --temperature 0 --max-tokens 2048 "$@" & pids+=($!)
  draw "$name-math500" math500.jsonl "${gpus[*]}" "${MATH:-500}" "$mode" --k 1 --temperature 0 --max-tokens 2048 "$@" & pids+=($!)
  for pid in "${pids[@]}"; do wait "$pid"; done
}

load() { # load SERVER MODEL: new weights for a running server
  python3 - "http://127.0.0.1:$(port "$1")/update_weights_from_disk" "$run/$2" <<'PYTHON'
import json, sys, urllib.request
body = json.dumps({"model_path": sys.argv[2]}).encode()
request = urllib.request.Request(sys.argv[1], body, {"content-type": "application/json"})
print(urllib.request.urlopen(request, timeout=120).read().decode())
PYTHON
}

# reinforce ARM FROM: the server decodes on the last GPU, this process trains on the first: the same one, if there is one.
reinforce() {
  local arm=$1 from=$2 steps status=0 resume=()
  sed "s|^engine = .*|engine = \"sglang://127.0.0.1:$(port "${gpus[-1]}")\"|" "$here/$arm.toml" >"$arm.toml"
  [[ -d $arm/checkpoint ]] && resume=(--resume)
  CUDA_VISIBLE_DEVICES=${gpus[0]} espalier train papo --config "$arm.toml" --from "$from" --out "$arm" --minutes "$minutes" \
    "${resume[@]}" >>"$arm.log" 2>&1 || status=$?
  if [[ $status == 4 ]]; then # the time is up: so many steps are the run
    steps=$(python3 -c 'import json, sys; print(max(json.loads(line).get("step", 0) for line in open(sys.argv[1])))' "$arm/metrics.jsonl")
    sed "s/^steps = .*/steps = $steps/" "$arm.toml" >"$arm-done.toml"
    status=0
    CUDA_VISIBLE_DEVICES=${gpus[0]} espalier train papo --config "$arm-done.toml" --from "$from" --out "$arm" --resume >>"$arm.log" 2>&1 \
      || status=$?
  fi
  [[ $status == 0 ]] || { tail -n 5 "$arm.log"; exit 1; }
}

for step in "$@"; do
  began=$SECONDS
  case $step in
    data)
      espalier data convert "$DATA/gsm8k_test.jsonl" --kind gsm8k --out gsm8k-test.jsonl
      espalier data convert "$DATA/math500.jsonl" --kind math --out math500.jsonl
      espalier data convert "$DATA/gsm8k_train.jsonl" --kind gsm8k --held-out gsm8k-test.jsonl --held-out math500.jsonl --out gsm8k-train.jsonl
      ;;
    prepare)
      [[ -f base/config.json ]] || espalier model prepare "$source" --out base
      ;;
    serve)
      for gpu in "${gpus[@]}"; do
        CUDA_VISIBLE_DEVICES=$gpu setsid python3 -m espalier.solver.cli.main engine serve --model base --port "$(port "$gpu")" \
          -- "${flags[@]}" >"serve.$gpu.log" 2>&1 &
        echo $! >"serve.$gpu.pid"
      done
      for gpu in "${gpus[@]}"; do
        until grep -q -- "--engine sglang" "serve.$gpu.log"; do
          kill -0 "$(cat "serve.$gpu.pid")" || { tail -n 20 "serve.$gpu.log"; exit 1; }
          sleep 1
        done
      done
      ;;
    evaluate-base) evaluate base base sequential --instruction "$here/sequential.txt" ;;
    sample)
      draw train gsm8k-train.jsonl "${gpus[*]}" "$problems" sequential --k "$samples" --temperature 0.7 --max-tokens 400 \
        --seed 1 --instruction "$here/sequential.txt"
      ;;
    assemble)
      # shellcheck disable=SC2046
      espalier data cold-start gsm8k-train.jsonl $(of train) --min-steps 3 --max-steps 5 --max-step-words 220 --no-mixed --seed 1 \
        --out cold-start.jsonl --sequential sequential.jsonl
      # shellcheck disable=SC2046
      espalier data filter gsm8k-train.jsonl $(of train) --min-pass 0.1 --max-pass 0.9 --out medium.jsonl
      espalier data convert "$DATA/math_train.json" --kind math --where difficulty=1,2,3 --max-words 60 --limit 250 --n 8 \
        --held-out gsm8k-test.jsonl --held-out math500.jsonl --out math-easy.jsonl
      cat medium.jsonl math-easy.jsonl >rl.jsonl
      ;;
    sft)
      mkdir -p base-sequential
      cp -l base/* base-sequential/ 2>/dev/null || true
      rm -f base-sequential/instruction.txt && cp "$here/sequential.txt" base-sequential/instruction.txt
      CUDA_VISIBLE_DEVICES=${gpus[0]} espalier train sft --config "$here/sft.toml" --from base --data cold-start.jsonl --out beta >beta.log 2>&1 &
      beta=$!
      CUDA_VISIBLE_DEVICES=${gpus[-1]} espalier train sft --config "$here/sft-sequential.toml" --from base-sequential --data sequential.jsonl \
        --out sft-sequential >sft-sequential.log 2>&1 || { tail -n 5 sft-sequential.log; exit 1; }
      wait $beta || { tail -n 5 beta.log; exit 1; }
      ;;
    evaluate-beta) evaluate beta beta/model parallel --constrained ;;
    evaluate-sft-sequential) evaluate sft-sequential sft-sequential/model sequential --instruction "$here/sequential.txt" ;;
    papo | rl-*-parallel) reinforce "$step" beta/model ;;
    rl-*-sequential) reinforce "$step" sft-sequential/model ;;
    evaluate-papo | evaluate-rl-*-parallel) evaluate "${step#evaluate-}" "${step#evaluate-}/model" parallel ;;  # as its directory says
    evaluate-rl-*-sequential) evaluate "${step#evaluate-}" "${step#evaluate-}/model" sequential --instruction "$here/sequential.txt" ;;
    score)
      for name in base beta sft-sequential papo rl-outcome-parallel rl-outcome-sequential rl-set-sequential; do
        for file in gsm8k-greedy:gsm8k-test:1 gsm8k-8:gsm8k-test:1,4,8 math500:math500:1; do
          IFS=: read -r set problems_file ks <<<"$file"
          ls responses/"$name-$set".[0-9]*.jsonl >/dev/null 2>&1 || continue
          # shellcheck disable=SC2046
          echo "$name $set: $(espalier data score "$problems_file.jsonl" $(of "$name-$set") --k "$ks")"
        done
      done | tee scores.txt
      ;;
    stop) for gpu in "${gpus[@]}"; do kill "$(cat "serve.$gpu.pid")" || true; done ;;
    *) echo "no step $step; there are: data prepare serve evaluate-base sample assemble sft evaluate-beta evaluate-sft-sequential papo evaluate-papo rl-… evaluate-rl-… score stop"; exit 2 ;;
  esac
  echo "$step: $((SECONDS - began)) s"
done
