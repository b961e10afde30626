// Alrao's update, rung 1: a thread walks along the weights of a feature.
//
// Every feature f has a learning rate of its own, and all weights into it move by it: weight[f][i] -= rate[f] gradient[f][i]. The
// obvious loop gives each feature to a thread, which then reads its rate once. But the lanes of a warp are `inner` weights apart:
// each touches a sector of its own, in every step.
//
//@ computes = "update"
//@ block = 64
//@ grid = 1
//@ shapes = [[5, 27], [64, 576]]

__global__ void update(float* weight, const float* gradient, const float* rate, int features, int inner) {
    int feature = blockIdx.x * blockDim.x + threadIdx.x;
    if (feature >= features) return;
    float own = rate[feature];
    for (int i = 0; i < inner; i++) weight[feature * inner + i] -= own * gradient[feature * inner + i];
}
