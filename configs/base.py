"""Every field of a run, with its unit. The other configs change what differs.

Any field can be set on the command line: --config.data.root=FOLDER --config.train.epochs=60
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0  # of the initial weights, the order of samples and the augmentation

    config.model = ConfigDict()
    config.model.name = config_dict.placeholder(str)  # a released name: harmony_jax.list_models()
    config.model.dtype = "float32"  # compute type: float32 or bfloat16; parameters are float32
    # How float32 is multiplied. highest: as float32, forward and backward; default: the
    # accelerator's fastest way, TF32 on a GPU (errors of 5e-4 of the range, where highest has
    # 3e-7), bfloat16 on a TPU (3e-3); high: between them on a TPU, like default on a GPU. Unset:
    # default in training steps, highest wherever numbers are reported or shown. No effect on a CPU
    # or on bfloat16.
    config.model.precision = config_dict.placeholder(str)
    # Size of the network, if it differs from the released one.
    config.model.depth = config_dict.placeholder(int)
    config.model.channels = config_dict.placeholder(int)
    config.model.max_channels = config_dict.placeholder(int)
    # Parts to exchange; the models' docstrings say more.
    config.model.backbone = config_dict.placeholder(str)  # hrnet18s, hrnet18, hrnet32, deeplab_r34
    config.model.fuse_into = config_dict.placeholder(str)  # encoder, decoder or both take features
    config.model.fuse_mode = config_dict.placeholder(str)  # cat, catc (with a 1x1 conv.) or sum
    config.model.mask_fusion = config_dict.placeholder(str)  # into the backbone: sum, rgb or none
    config.model.pyramid_channels = config_dict.placeholder(int)  # of each map; 0: no pyramid
    config.model.ocr_channels = config_dict.placeholder(int)  # of the HRNet head; 0: no head
    config.model.multiscale = config_dict.placeholder(bool)  # HRNet's four scales, without head
    config.model.width = config_dict.placeholder(int)  # channels of HRNet's finest scale
    config.model.deeplab_channels = config_dict.placeholder(int)
    config.model.dropout = config_dict.placeholder(float)  # rate in the backbone's head
    config.model.attend_from = config_dict.placeholder(int)  # first decoder block with attention
    config.model.init_variance = config_dict.placeholder(float)  # kernels': times the mean fan

    # What a new training starts from; ignored when it continues, and in evaluation.
    config.init = ConfigDict()
    # Fine-tuning: a workdir, one of its checkpoints/STEP, a .safetensors or .pth file, ready (the
    # model that comes with the package) or a released name. Parameters that fit by name and shape
    # are taken; the optimizer is fresh, the step 0.
    config.init.checkpoint = ""
    # Otherwise an ImageNet classifier's weights for the backbone, .pth or .safetensors; unset:
    # random.
    config.init.backbone = ""

    config.data = ConfigDict()
    # iharmony4: the four downloaded folders; pairs: composites of your own; photos: composites are
    # made of them while training; demo: the same, with seven photos of Python packages
    config.data.name = "iharmony4"
    # The four downloaded folders, or a prepared set; of pairs a folder with composites/, masks/ and
    # reals/, or a CSV list of the three; of photos their folder (docs/data.md).
    config.data.root = ""
    # Of pairs, photos: those to evaluate; unset: those in the test list of a folder of pairs, else
    # the held-out ones.
    config.data.test_root = ""
    # Of photos: the folder of their masks; unset: masks/ in or beside each folder of photos.
    config.data.masks = ""
    config.data.regions_per_photo = 2  # of a photo without masks; 0: these are left out
    config.data.subsets = ("HCOCO", "HAdobe5k", "HFlickr", "Hday2night")
    config.data.image_size = 256  # pixels a side, in training and evaluation
    # Share of the training photos held out to choose the best checkpoint; photos of one scene of
    # Hday2night stay together. With 0 every composite trains, nothing is chosen, and the newest
    # checkpoint is the result (the released recipe); so too where evaluation.every_epochs is 0.
    config.data.validation_fraction = 0.02
    config.data.validation_seed = 0  # which photos; apart from config.seed, so that runs compare
    # Augmentation: a crop of 50 to 100 % of the photo's area, or the whole photo; a left-right flip
    # of half the samples, or of none.
    config.data.random_crop = True
    config.data.random_flip = True
    # Decoding processes; -1: one for each core that this process may use; 0: threads.
    config.data.num_workers = -1
    # Where training samples wait. stream: decoded when their turn comes. device, host: decoded
    # once to resident_size, kept in the memory of the accelerators or of the hosts, and cropped on
    # the accelerators: for those that are faster than decoding.
    config.data.placement = "stream"
    config.data.resident_size = 384  # pixels a side; 7 bytes a pixel
    # A training sample that cannot be read is an error, or with "skip" the next one takes its
    # place; these are counted and listed after each epoch.
    config.data.unreadable = "error"

    # How composites are made of photos. Shares are of all composites; deviations are standard
    # deviations of a normal distribution that is cut off at 2.5 of them.
    config.data.composites = ConfigDict()
    # Shares of the ways to recolour. Three give an object the colours of one in another photo: mean
    # and deviation of Lab (reinhard), mean and covariance of RGB (linear), or the histograms.
    config.data.composites.reinhard = 0.22
    config.data.composites.linear = 0.2
    config.data.composites.histogram = 0.18
    config.data.composites.retouch = 0.35
    config.data.composites.unchanged = 0.05
    config.data.composites.strength = (0.55, 1.0)  # of these three: share of the change
    config.data.composites.distance = (4.0, 45.0)  # to the other object's mean, in Lab units
    # Of retouch, as deviations.
    config.data.composites.exposure = 0.9  # stops
    config.data.composites.white_balance = 0.35  # stops of red against blue; of green the half
    config.data.composites.contrast = 0.4  # log2 of the factor around the object's mean
    config.data.composites.saturation = 0.6  # log2 of the factor
    config.data.composites.gamma = 0.35  # log2 of the exponent of the tone curve
    config.data.composites.hue = 8.0  # degrees
    # Additional light from one side: its share, and its deviation in stops from the object's middle
    # to its side.
    config.data.composites.light_share = 0.2
    config.data.composites.light = 0.4
    # Masks as people make them: a share of coarse polygons, whose area is recoloured exactly, and a
    # share whose edge misses the edge of the recoloured area.
    config.data.composites.polygon_share = 0.15
    config.data.composites.edge_share = 0.15
    config.data.composites.edge_shift = 2.0  # up to so many pixels outwards or inwards
    config.data.composites.edge_width = 3.0  # soft over up to so many pixels

    config.loss = ConfigDict()
    config.loss.name = "fn_mse"  # fn_mse: the paper's foreground-normalised MSE; mse
    config.loss.min_area = 100.0  # A_min of fn_mse, pixels

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"  # adam; adamw: with weight_decay
    config.optimizer.learning_rate = 1e-3  # the highest of the schedule
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.eps = 1e-8
    # Of adamw: the share of each kernel that a step takes away, times its learning rate. Biases and
    # the scales of normalisation do not decay.
    config.optimizer.weight_decay = 0.0
    config.optimizer.backbone_rate = 0.1  # of its pre-trained part, times the learning rate
    # Patterns such as "backbone.*": parameters with these names are not trained. A part without
    # trained parameters computes as in evaluation: without dropout, and with running statistics,
    # which stay as they are.
    config.optimizer.freeze = ()
    # piecewise: constant, and multiplied by decay after each milestone (the paper's); cosine,
    # linear: falling to final_rate at the last step; constant.
    config.optimizer.schedule = "piecewise"
    config.optimizer.warmup_epochs = 0.0  # in which the rate first grows from 0, linearly
    config.optimizer.milestones = (160, 175)  # epochs after which the rate is multiplied ...
    config.optimizer.decay = 0.1  # ... by this
    config.optimizer.final_rate = 0.0  # of cosine and linear, times the learning rate
    # How the learning rate follows train.batch_size: none: not at all; linear: times batch_size /
    # 16; sqrt: times the square root of that (docs/training.md).
    config.optimizer.batch_rule = "none"
    config.optimizer.clip_norm = 0.0  # greatest norm of all gradients together; 0: any

    config.train = ConfigDict()
    # Images a step over all devices, a multiple of them (times accumulate): docs/training.md.
    config.train.batch_size = 16
    config.train.epochs = 180
    # To save memory the batch is computed in this many parts, one after the other. Batch
    # normalisation then uses the statistics of a part.
    config.train.accumulate = 1
    # Keep only the results of convolutions for the backward pass, and recompute the rest.
    config.train.recompute = False
    # Type in which the gradients of kernels are accumulated and summed over devices. Unset: that of
    # model.dtype. With float32 for bfloat16 models on many devices, additions do not round, but
    # twice the bytes are sent, and GPUs compute these gradients in TF32, more slowly.
    config.train.gradient_dtype = config_dict.placeholder(str)
    # Compiler options of the training step, each NAME=VALUE. They add to or replace the platform's
    # (docs/performance.md, "On a GPU").
    config.train.compiler_options = ()
    # Moving average of the parameters, used in validation and in the checkpoints' model: the share
    # of itself that it keeps at each step, such as 0.999; 0: no average.
    config.train.ema_decay = 0.0
    config.train.log_every_steps = 50  # progress line and scalars; a loss of NaN is noticed

    config.mesh = ConfigDict()
    config.mesh.devices = 0  # accelerators to use; 0: all of all processes
    # Devices that share one copy of parameters and optimizer; 1: each has its own; 0: all share.
    config.mesh.shards = 1

    config.evaluation = ConfigDict()
    config.evaluation.every_epochs = 5  # validation during training; 0: never
    config.evaluation.batch_size = 16  # images over all devices, rounded up to a multiple of them
    config.evaluation.split = "test"  # of --mode=evaluate: test, validation or train
    # Size at which the metrics are taken. square: image_size both ways, as published; longest:
    # shrunk if the longest side is above longest_side; none: the photos' own. With the last two,
    # photos are padded for the network and the output is cut back.
    config.evaluation.resize = "square"
    config.evaluation.image_size = 0  # pixels a side; 0: those that the model was trained at
    config.evaluation.longest_side = 1024  # pixels
    config.evaluation.flip = False  # average the predictions of the picture and its mirror image
    config.evaluation.num_pictures = 8  # example rows in TensorBoard and in the picture file

    config.checkpoint = ConfigDict()
    config.checkpoint.every_epochs = 5  # besides those at each validation and at the end
    # Also so long after the last one, at the next progress line; 0: not.
    config.checkpoint.every_minutes = 10.0
    config.checkpoint.keep_newest = 2  # besides the best
    config.checkpoint.best_metric = "MSE"  # of the validation set: MSE, fMSE or PSNR

    config.profile = 0  # steps to trace into WORKDIR/tensorboard, after the first 10
    return config
