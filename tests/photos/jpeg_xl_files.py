"""Small JPEG XL files, written by cjxl 0.7.0, which the project does not use.

Each has blocks of 8 pixels, 4 across and 3 down: 80 c red, 120 r green, 250 - 60 c blue.
"""

import base64

# At a distance of 0.1, in Display P3, which numbers say.
P3 = base64.b85decode(
    "{|d!GLM9gi027D+ya@mQssaE|p)$(2!OOXxFF$lxOxw85&{o?PmL!UdW0Q0OhnWP4#LFRg+uv0I^Z=<hf&hSvdj9(V"
    "xx{=ky1=90%8lc6!p9Llh=ipX9rkHNKpt$nxRzZKR!^D_qIg#SOEsF}L5Xj(%g*|%xdRWqicxu(A#wwtLJDNIl`2t3"
    "QItfH$BPs8#BxJ7!;@gbHDwhjD7J|h64ApY@Na?eF0?9#_b;(-h{(%{5xxxgdWCX6==$*pEJZv;ei*{SdwwO*MOb<$"
    "-JnJNCAS{_c#$qg9Rs#wUeJv>lm+SZd1^h~4V4!Vkde6o?xbfNdJ}UsAg&Znau~<!D<fL}2l_L#3nG%WGPJ(=A4SzI"
    "l&$WR5RrzkmkJW-nYDokhVpaWsrV%MMG*uHT@LJoJ+5_Zp!HM*pU4E}hAuu0DvzD(F@fMg8$Eb5r-I4Q^~H5FT8byn"
    "xC_<0JD6oc!7!11JTnE4^)F;72z-sxi4MznNW^|)wOJw{7Y@mfwdeSg?Or6rc?RCE`6wQ@SUxLE(XmsfuLK}VJE3y6"
    "L27(Gd;r@9xDjlYlCd7j5gkzR9SVG4G@!Sgv50{Xo!h)DzyA%)1eSDp@~&s99I<L9UPRp&hYO^dmAlum8N|MQpfzZ}"
    "p!l_0NOblR{hfMdG%c&zU*jKIHaPk9Hmb9s-?3P5RVyw?!f;?(0f!Zc!Yk|nWtZwUz`HaDEU~ian3dpi&jB|iPy"
)
# In Display P3, which an ICC profile says; its beginning.
ICC = base64.b85decode(
    "{|d!G2w#l`1`Gf|01(gs^T9Es&BEmlEY)q936}E}fnhQBsWxC;W}3KaZW?ODqo@gD-ux)`zO&(l"
)
# Without loss, opacity of 80 c.
ALPHA = base64.b85decode(
    "{|d#xg5p952oL}W0ZSN@j)P!Y$WjbO#>4j!W3XYz;6x0rLJV$~Vhk3(fG_}))CB;3V!!a)$@$$(ACH!Q!{*KvYxK-Q"
    "A`kGV1TX~"
)
# In boxes, to be shown turned to the right.
TURNED = base64.b85decode(
    "0000CN?1%F4GM<}0000KW^{RQYItlQ00000YItlQ0000{YItm8{|dz{5Kvqa2m%2B>;Ov`la7O6LIey(#zP&(7~~Ka"
    "2nN8m%(e#v0)6ts;oorhcb^{|{tbuIx0l@a-PyZCW`9FRD%V-)X#"
)
# Of BT.2020 and PQ.
HDR = base64.b85decode(
    "{|dzf5RgZYI2-@~0006A0s#Q*081E?j)P!A1Pn&TLmkE#<PaAK2Eew=wg&_Pee%QM-*EVMpC26l4TsaWm)!T=*}Fq#"
    "e?vzq*IDRk"
)
# A JPEG of quality 95, packed; its EXIF turns it likewise.
JPEG = base64.b85decode(
    "0000CN?1%F4GM<}0000KW^{RQYItlQ00000YItlQ0000IYItmL00000{|dz{5EB3Z0pn_7a%8}8+W>+f2rUBwKr{fM"
    "MuCv4N&o;r$WhsXp*a61h>Q`+IHwe}A0b1Sr4BO8K<N%OSRXQ+e9VAD4k|2i(69sBM-Bb^Bg-6i+<}Io`(KQ4#w3?)"
    "^2sQtJTuKT+k7+5ISV~B(M215G}1{+JvG%;TYWXwS&Kb3*=3u3Hri>+JvZHT+kH3Qc?&)`;e{K1IO2&%F8Sn?S8n;`"
    "m}efk=%bTfy6LB*o_g%E&rW;ow%?9>?!gN`Jn_XFe?0QZM=$;K)K_o)_1I?*e)!^#Pk#C4pO1d}@W(Iz{Pfpv|NZ#q"
    "|F2-GsssQ)$WhsXp*a69h=fu`S*H|<@qm!cs6mEFb)cbou;JW8ju}vp4;pgNVFxxAS>~wU?Zb{6TG1bQX7EXd_rDn9"
    "j7v88WRz2;xn`Sh#yMx9hbFpcqmM>9X{o2Cx@xPh#yV@U$0oaMv(H95ZMo;ByKcMh#yju81s|O7!VNzh@x&vSd~(Vw"
    "xBPO<GY?(#(Md1e^wUvKJ$Bh=r@eODZ^u3N;DsNa_~MN}9{J>>mwtNctGE7o?6VJF{PD>z-~98@Pd|S7=cm7Z`|rm;"
    "|9^oW0H`bg3kZPV01!$>Nk#wx0RR92009610{{R3Kw@%lVnujqW*aX600e4o_pmV<8zmS_oe~Tto8XWG_Uub2EDJn_"
    "@0551$PBxmm<kh-E;Vjz(R1hB4*&oF)M|KaaDV^+0pMEz5C8-N2w(_c2w?vI4gdfc00;m9000000Dyoci6Z0J32E+F"
    "0RT!)3JMAe_XG(sSSdO>8p0t)#4sW{f|-1S0Ko43xXADu82~5`CFtT1qE;m6YgC~4{@u&oN0u?2P3Lcbq`qiAy&4A}"
    "IvqaS0RWf)Z~};#*$n`YCj<b1bpb$r8vp<R00000000;u@&IZDl!F0c0AUEQ*aJr?6cC00i6?<U1R?7k0Dv3_0001t"
    "000000000000000002;u00"
)
# The second picture is upside down.
MOVING = base64.b85decode(
    "{|dzf0|+QC2?zp`2><}>081E?j)P!A1Pn&TLmkE#<PaAK2Eew=wg&_Pee%QM-*EVMpC26l4TsaWm)!T=*}Fq#e?vzq"
    "*IDRk2m+D?0Neme7?X~JU;;o~#zP&(7~~Ka2nGO40A~OM^6vn_;ooq0@%}d){tbr%Lek%NVZhBawOZ*56b1"
)
