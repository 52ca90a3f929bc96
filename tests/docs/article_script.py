"""What the article on quantization in MXNet 2 shows, call by call, with the import changed.

    MXNET_HOME=FOLDER python article_script.py VAL_REC SIZE BATCH_SIZE

Filled in: VAL_REC, a record file of labelled images (the article: of ImageNet); SIZE, the side of the images (224);
BATCH_SIZE (64). ``pretrained=True`` finds what MXNet once downloaded to ``models`` in FOLDER. Left out:
``graph.view()``, which opens a window.
"""
# ruff: noqa: E402, F403, F405, RET504, UP031, UP032

import sys

VAL_REC, SIZE, BATCH_SIZE = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

# --- Operator fusion

import minidnn as mx
from minidnn.gluon import nn


class SampleBlock(nn.HybridBlock):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2D(channels=64, kernel_size=3, strides=1, padding=1, use_bias=False, in_channels=64)
        self.bn1 = nn.BatchNorm()
        self.conv2 = nn.Conv2D(channels=64, kernel_size=3, strides=1, padding=1, use_bias=False, in_channels=64)
        self.bn2 = nn.BatchNorm()

    def forward(self, x):
        out = mx.npx.activation(self.bn1(self.conv1(x)), "relu")
        out = self.bn2(self.conv2(out))
        out = mx.npx.activation(out + x, "relu")
        return out


net = SampleBlock()
net.initialize()

data = mx.np.zeros(shape=(1, 64, SIZE, SIZE))
# run fusion
net.optimize_for(data, backend="ONEDNN")

# We can check fusion by plotting current symbol of our optimized network
sym, _ = net.export(None)
graph = mx.viz.plot_network(sym, save_format="png")

optimized_symbol = sym.optimize_for(backend="ONEDNN")

# --- Quantization

from minidnn.contrib.quantization import quantize_net
from minidnn.gluon.model_zoo.vision import resnet50_v1

net = resnet50_v1(pretrained=True)

batch_size = BATCH_SIZE
dummy_data = mx.np.random.uniform(-1.0, 1.0, (2 * batch_size, 3, SIZE, SIZE))
calib_data_loader = mx.gluon.data.DataLoader(dummy_data, batch_size=batch_size)
qnet = quantize_net(net, calib_mode="naive", calib_data=calib_data_loader)

import time


def benchmark_net(net, batch_size=32, batches=100, warmup_batches=5):
    data = mx.np.random.uniform(-1.0, 1.0, (batch_size, 3, SIZE, SIZE))

    for i in range(batches + warmup_batches):
        if i == warmup_batches:
            tic = time.time()
        out = net(data)
        out.wait_to_read()

    return time.time() - tic


times = {"float32": benchmark_net(net, batch_size, batches=2, warmup_batches=1)}
times["int8"] = benchmark_net(qnet, batch_size, batches=2, warmup_batches=1)

# --- Accuracy

from minidnn.gluon.data.vision import transforms


def test_accuracy(net, data_loader, description):
    acc_top1 = mx.gluon.metric.Accuracy()
    acc_top5 = mx.gluon.metric.TopKAccuracy(5)
    count = 0
    tic = time.time()
    for x, label in data_loader:
        count += 1
        output = net(x)
        acc_top1.update(label, output)
        acc_top5.update(label, output)
    time_spend = time.time() - tic
    _, top1 = acc_top1.get()
    _, top5 = acc_top5.get()
    print(
        "{:12} Top1 Accuracy: {:.4f} Top5 Accuracy: {:.4f} from {:4} batches in {:8.2f}s".format(
            description, top1, top5, count, time_spend
        )
    )


rgb_mean = (0.485, 0.456, 0.406)
rgb_std = (0.229, 0.224, 0.225)

dataset = mx.gluon.data.vision.ImageRecordDataset(VAL_REC)
transformer = transforms.Compose(
    [
        transforms.Resize(SIZE + SIZE // 7),
        transforms.CenterCrop(SIZE),
        transforms.ToTensor(),
        transforms.Normalize(mean=rgb_mean, std=rgb_std),
    ]
)
val_data = mx.gluon.data.DataLoader(dataset.transform_first(transformer), batch_size, shuffle=True)

net = resnet50_v1(pretrained=True)
net.hybridize(static_alloc=True, static_shape=True)
test_accuracy(net, val_data, "FP32")

dummy_data = mx.np.random.uniform(-1.0, 1.0, (batch_size, 3, SIZE, SIZE))
net.optimize_for(dummy_data, backend="ONEDNN", static_alloc=True, static_shape=True)
test_accuracy(net, val_data, "FP32 fused")

qnet = quantize_net(net, calib_mode="naive", calib_data=val_data, num_calib_batches=10)
qnet.hybridize(static_alloc=True, static_shape=True)
test_accuracy(qnet, val_data, "INT8 Naive")

qnet = quantize_net(net, calib_mode="entropy", calib_data=val_data, num_calib_batches=10)
qnet.hybridize(static_alloc=True, static_shape=True)
test_accuracy(qnet, val_data, "INT8 Entropy")

# --- Custom layer collectors

import logging

from minidnn.contrib.quantization import *


class ExampleNaiveCollector(CalibrationCollector):
    """Saves layer output min and max values in a dict with layer names as keys.
    The collected min and max values will be directly used as thresholds for quantization.
    """

    def __init__(self, logger=None):
        # important! initialize base class attributes
        super().__init__()
        self.logger = logger

    def collect(self, name, op_name, arr):
        """Callback function for collecting min and max values from an NDArray."""
        if name not in self.include_layers:  # include_layers is populated by quantization API
            return
        arr = arr.copyto(cpu()).asnumpy()

        min_range = np.min(arr)
        max_range = np.max(arr)

        if name in self.min_max_dict:  # min_max_dict is by default empty dict
            cur_min_max = self.min_max_dict[name]
            self.min_max_dict[name] = (min(cur_min_max[0], min_range), max(cur_min_max[1], max_range))
        else:
            self.min_max_dict[name] = (min_range, max_range)

        if self.logger:
            self.logger.debug("Collecting layer %s min_range=%f, max_range=%f" % (name, min_range, max_range))

    def post_collect(self):
        # we're using min_max_dict and don't process any collected statistics so we don't
        # need to override this function, however we are doing this for the sake of this article
        return self.min_max_dict


logging.getLogger().setLevel(logging.DEBUG)

calib_data_loader = mx.gluon.data.DataLoader(dummy_data, batch_size=batch_size)
my_collector = ExampleNaiveCollector(logger=logging.getLogger())

qnet = quantize_net(net, calib_mode="custom", calib_data=calib_data_loader, LayerOutputCollector=my_collector)
naive = quantize_net(net, calib_mode="naive", calib_data=calib_data_loader)
