#!/usr/bin/env bash
# Every figure of the README and the docs that needs a GPU: scripts/measure_gpu.sh OUTPUT PART...
#
# The parts, in order of importance: tests learner seeds balancers bfloat16 networks env curve evaluate report devices.
# A part that fails does not keep the others from running; each writes a log and, where there is one, a JSON file.
set -u
output=$1
shift
mkdir -p "$output"

run() { # name, command...
  local name=$1 started=$SECONDS
  shift
  "$@" >"$output/$name.log" 2>&1
  echo "$name: exit code $?, $((SECONDS - started)) s"
}

methods=plain,LS,AlignedMTL,PCGrad,CAGrad,NashMTL,MGDA
gramian_methods=plain,LS,AlignedMTL,AlignedMTLUB,CAGrad,ConicGrad,DualProj,FairGrad,GradNorm,GradVac,IMGrad,IMTL,IMTLG
gramian_methods=$gramian_methods,MGDA,MGDAUB,NashMTL,PCGrad,SDMGrad,SDMGradOS,UPGrad
learner() { mtrl benchmark learner --repetitions 5 --output "$output/$1.json" "${@:2}"; }
train() {
  mtrl train --config configs/mt10.yaml --total_steps 300000 --evaluation.interval 50000 \
    --evaluation.worlds_per_task 50 --checkpoint.replay false --log_interval 5000 --run_dir "$output/$1" "${@:2}"
}

for part in "$@"; do
  case $part in
    tests) run tests pytest -q tests/agents tests/mtrl/training/test_gpu.py tests/mtrl/device/test_philox.py tests/mtrl/device/test_generators.py \
      tests/mtrl/balancers/test_cuda.py tests/mtrl/balancers/test_kernels.py ;;
    learner) run learner learner learner_s1 --modes eager,captured,compiled --balancer "$methods" ;;
    seeds) run seeds learner learner_seeds --modes compiled,autotuned --num_seeds 5,10 --balancer plain,AlignedMTL ;;
    balancers) run balancers learner learner_balancers --modes captured --balancer "$gramian_methods" ;;
    bfloat16) run bfloat16 learner learner_bfloat16 --modes compiled --precision bfloat16 --num_seeds 1,10 \
      --balancer plain,LS,AlignedMTL ;;
    networks) run networks learner learner_multi_head --modes compiled,autotuned --network multi_head --num_seeds 1,5 \
      --balancer plain,AlignedMTL ;;
    env) # also with a core left to the process that waits for the workers
      OMP_NUM_THREADS=1 run env mtrl benchmark env --seconds 0.8 --output "$output/env.json"
      OMP_NUM_THREADS=1 run env_15 mtrl benchmark env --seconds 0.8 --workers $(($(nproc) - 1)) --output "$output/env_15.json" ;;
    curve) # beside `networks` and `env`: what of the slower one's rate is left end to end
      run aligned train aligned
      run ls train ls --balancer LS ;;
    evaluate) run evaluate mtrl evaluate "$output/aligned" "$output/ls" --engine reference ;;
    report) run report mtrl report "$output/aligned" "$output/ls" --output "$output/report" ;;
    devices) run devices train devices --total_steps 30000 --seeds 0,1,2,3 --devices 2 ;;
    *) echo "unknown part: $part" && exit 2 ;;
  esac
done
