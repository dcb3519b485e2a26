"""Small HEIC files, written without loss by pillow-heif 1.8.1, which the project does not use.

Each has blocks of 8 pixels, 4 across and 3 down: 80 c red, 120 r green, 250 - 60 c blue.
"""

import base64
import zlib

TURNED = zlib.decompress(
    base64.b85decode(
        "c-oa#30PBC7CtW<5i#skw4cTWu^CV{l`1*`+$u@~f-F)?$oe!PkC(8xl%--v>xi}#EH2n0e2R)o=t!Bt"
        "0Xt%&LZM<SDiACpidKSFz)E;?Uy|xfzpvkX^XD%AJ@=e@-#zEN`vL%O%5|Fwr3}vk1T`-Ar@0yz%K=!E"
        ")H0nIteB>hsz@6L0+;CEcL>5&8VOC73V{I_%~(sUJz{f_41ufuO#<^#4aV_Qxn)Gpx}$;2qK0&o84`c^"
        "4<SaYEX%?z>O2D1sllenOuz|}Kz%SyNHj>6iEP6$78lXdU|NYX!6-E{0^rC@Miy@fF$avIXa%N4gNaoB"
        "&Jc>xoFELt{(E8{%Zab=jBQKmU<H8_l41Mk38&l?q|RN6T_pUH&+*X-q!NvaBuEW<LPoqwqSms6$fKz`"
        "GI~WAKRzLmZ`TjwVG^o=Fi$Me5}_i|YWPD8{b+Snn=ic<{C^lPm1$8hFxm$}5`sk0!a@*Vov9;ez7ugb"
        "iBc>@{1D<kBzi!^4YWMP$~$PTuyPa4$(ZPHbT$^^P6{h`qj`#z&!o9TNut0of)JmnR;5d9&qJTYL6#c3"
        "7WETReG{T#1%v?~QXn00P=OA7QJ?w;HhvbHNYEe)32F)03?$N5fD&2yAZa>iL56xclFQIf1)FJ~|K68c"
        "d0>Ebb%!tjb{9oG^8&Cd1TgQTsFz<-l(`Ir7oEK!^|k$WBf#Q%ilYAUS~eTyhx2#<L+xwXs(OHP3jpkE"
        "2{9>t6%9sU;Qtz1{RWnl12~QR8ub_;{3gKJa)4PVryP^$7~on$X0sC7>THQhjM5+YHlNY{Md?j-(<`IC"
        "-S&Dp5qK7E*@DZZ^I{xMYIO8=o;aZvzj8Xp$zw3t`5&RdB%GAVZ4*3+6lE0sVxv7+YPD31@`&}P+1MGj"
        "-oDbKd(vF?rD}@G9DDRqb938p3tgy|(cemuBlW^H4mRA|Wr%gx{Os+LhRW=Moeyj!LqX|zIn;2@llt@K"
        "%oghcudGMS-K*}wskWR=?i96mn@o86WCTK%6;a0fALfSKTW?tGDdM}aF`;P2%IiUU=q5#XzlJAr7@aZV"
        "YxL+kVMSL}zpb2T0A^k@`T4rMbZK6RNpWH$U+?90d$<dEx^VKj^+ldX%0|{cxcq7A;nOuuoei*6pY83R"
        ">AAda$E~!b<^o?%X#Vz@_A6YyDf5jd3%>nwxTdD&>tYLvuFm($^{af)rup{hSN#hMjvgOUAC%uZkD9Og"
        "DeA>k{V3mkVo_C6$P~A~EZGH%pVzojV?Jr@th;ZQl$0EZwIHVQLI&0tusqou;VunzTI$TwpE@bHiki1F"
        "gS&xoA|}0Mpv`V|O3tFTzW&e_=P~<yn0_^IEBj&2<X(1#_Z`K%qm|#N9Y5R&Z^<3S|C+8h_?7SaPEg%;"
        "J|abwC}h54(yBY1JNM5F3Vg3QI(?eyvTvgu%607v<GG2?l+=<#JUi{S;N*odFkP_!1I4It*@1AAUsPV-"
        "m32K89AM2$8tBKAv$78E_~@smoJ7t0m&d+u1)m;c%*NVN%Q#zlOAR|BHIc_xwdUGQ-hJ-}LBKz!agHDP"
        "cq4J<gB>EbhLZQGA<1WnMW5U%t1Mb6ecMoZ;ctt;`<S;<6E}ZcW9|ChJJ&oCuGFvf1<th#_c?)u(Jw2$"
        "o6(qAS9HVuG1eE4C3)R$Uhzi8k&ef)yXSuHk+ApUUqc|#uK3v9P3<njl~oJploTfH4v*+b_HGqo!y7lW"
        "USqk<x%4;^m8RF&FXTKc?^U1f;TEi0BtACiQFgq!)S;UN0-5H$XRNc2?&zEwz8I(~WBLjLgdE9O->3DL"
        "+_FQnA1>3Vc+Q))=dTZqU(gP#zMt}w-8`MvzUc<{=+1UtyZSm89JuM%vEp$BA&R&Tz5g#K<Hvd`<RWZB"
        "+@fD|6UUX#x-0&=dg_k{Zw@xJLP+9VPtk+D>aOu$G!1$|&;YU3?a{*?fWwCuSM1qxo2hc|D<3iCY}Evi"
        "tuU>>K0AroP<Lh@FR=RQV5HLYL^ZvE`&8Q5Od8+qc^<L+Gv(DS6D3g>g^Uc{Q1QG+$_Z!VN(*}~nt!gl"
        "V%TtNh!49eFATO^rxv;zS60`BZ+3P~P@6!|J2lDv`5E)sJ3rKROgOOL=u-Uj&*1XQ)S5kw9TimykFm>X"
        "KH23w!3eNN!tgnNRdtg7g9R@Oe5M?^J8-Dg%ary_(ORQHm=bkfo8N#g5svi(zGe*w=syF%z#J`C69?5<"
        "n2Y7|!z?3&HR4S&68;UW>*<L"
    )
)
ALPHA = zlib.decompress(
    base64.b85decode(
        "c-nPV2{_bi7k_6*j9sK<RMyB6EtZU^#J#qZwQCv63^QiPP7L8H5oKwzl~9%titd*Wi4YMjgve4tp~w*a"
        "-+xf|yWjJCzvs+(&wI}Ao&WngbDo(20Bm*h4Pua8DS-e6jpC-tiD?ukHvo_{nyar9SceqZh3c~r0|tfU"
        "3;qY{6e^v>2@Hq;2@sqJnY6wFfL4ZcFtByMG9j=#NTGPSt!+6~QF!CJMuRzIf08QrM-usW63?Lc(!d52"
        "QA}a@FyJ+c!XVM%TmVedN1(ajFzX<P1kHeDh|LCoALR(2*i1z5A|QxEK&>%QFy${K(Fv|896=!dSx7_+"
        "5XuKmb=&u&)qwz<LnLwv0!(L^&Sik8XQ(*dBfw7)Cef)rUL<NDoaY0838zFTXBn;={UL6=<VaK}__lzs"
        "etRI!Ss@4-;z)$oo{eq@Ferf(&OsCx7e|Ws->S0NKUFRNA5|R2f2orBrRry)E)p$fSNNA_I+C+j<2a-M"
        "M-diQ<Q*rp-sJTQAUMyIb@B_;=j{A^yfkSHS9eXat3OFoO+{5h6E0C)G}k^E0);{QIWq7RU?PwxOcX$3"
        "Vo<o)C^)x;;^XSJQOCpQsB5zV_kpXN=Hdho6?%^xq7+lkQy@09MH%y?0)hfoCx6i2gf4V&4C+|^X({~B"
        "qOcYCWAsAvDN*`oSs`!O<Pu`XH_YE1D#wRI3*ldCAFKp)tiQpp)5|MEMx&s(JKR$gf-Z-;5=)AVVFa$j"
        "eDFggQ+w2|Sx3T*Ac8><&2|}fsmF7iv+sv0yczHEF1FI3*t^1Yyt_NGVTE-7718c<?R12nO9X4iz0iYD"
        "E-n3b;T=2;S0(S+rATDwuuqORUGd5+scIXj10m&MvZ?_R#~wxZdK;`HC}H)Y&hO?qE-VYJy!>+D>CJ_z"
        "s;cVLHKeremu9LIjCa$Y-m09?Ot^LDJ1yO<_W|rGCm?8XNBJ^AR6OObz4msIKM!93I`dV+(5j+0Ch+|s"
        "7K?TL)EX=cYWxw6YR4Q`j744a1Plbx<;6t`t+101I5-55g_eFD)7`k=oWr%cKTha%2(I!(ft{`ULNK4g"
        "CC4y%vVHER%LR{V{E@Lh-i_a>VP|=>O74Z{3KiWCjGfJFiKr7ZXK4e118KX}_nm3C@ROQpQfkE2LeSa8"
        "!F%H0$k5>oJnn4hK}StXuu~!Jocl8I=ym-W74wLXEvHBFumG)LKRtmU%LJxJ#|*cH+tMAHR$p`i#gRcv"
        "kB7xavB6_m&Cw=wlRHM8Oq^ug=qm-ae@kKSWMA}Pl%9(=6RBf4K;KEpwkb)yIRz<(E{B>6YVK<R+1s*Y"
        "y48N}#)o!eeb2;fT53-!0qnDy57>QIEq>%Z-_;oKDCMQ-6yl>b!e07q`|-{G+5J<e;*_t6*<8N3qz!Cw"
        "skh&I_6RK$+|}I6x@r@rZ#?2C+et($c>K}%3@x(v$&?9fZGR(;i2as3Mk^WNN;s|MbbD4T=T3VT?+_X&"
        "xYEyjLzhkV`3lzEn7*5XQc_SOVo9qXuhc#f3DXPvbd*lT3woZ9veUCZ&;yKKY#+vH_@3oyd&zYxwg=xs"
        ">*4~uTz*}MRPF?AcdPz#)wv?;)sZ|mGX$TN))Lc}J4@!hQ+36T*XeI&>pFq9t+IsK_+{F=O*h(RrGff1"
        "BSd8K(+B{WnL2s#!EaGi(T}<8neY(0nolQ?ny3x4N7X$lO~mi3_&RGsp7}!ES;zI&WuV<>&~#+p_*gQz"
        "HCUWvUQa~&`+iT=m?ZO+S!G=vsbBg0sHORj-tPo(p`d2AqYKg$9yF|Yq#q<GY(tv?3S&F$dFD%3%KBbC"
        "?B~0lHYk+(RTl`&?Wl@x?9aRFF1Fg_tr(VzS6~AS`v_(4CF+2W>TJS~1jX&y@24|5rDwb!r<@#YCOVrx"
        "I2%<5e_aH~Axbv62yc&Xa@4I(4Tru!1L3r#>8wSLWiLX%Y*`~gfOko9Zrk(M7LM0sxFbnD-*ql?T)Y`T"
        "CFY5Bcejj;3aWhcIew<R_WqM$03xFm#oww^d-_b|n2iQF^IS);(;=Tdkmd2phZa7m3fT-iAB2CRPMcBv"
        "rWJHpAA+*nvvoVZEkm$dAOLlf##>`vXUZzc#fTYQ`%ANA0Alp{qWMs^x9|;RQ(7uiNo;)?>{0<zmi?!M"
        "fuS9}P;a~eN~9K6GQlR%q#_xitQvCqNU2z6;B&MZz<2Q_ToT^h5}Z+>6Wuap`i_r?5P&wn-isz2uE8j$"
        "N`+SVv5CmzZxb&5*<zGLDr&v!e~Qt6+kmH2OCuZVuO3=f+fi%Bj<gx_94`ZigS|<^!=~N$Q@0q%_4bF-"
        ">3g6bZ?g;<2=pL4=%-r6$TI~xm2|pBg5pFyTCR-e=a0(8!)-r^%dR}^r%C%<G}!QERUWeq2s-44fcrU7"
        "pUp`0NxSe!RbPN$g=NP4wU~ahf7>~+b7%g2jWi9h)$39h_vc!?EGo$>F1`+wDu2un`W1yMQkL|iYy9~b"
        "1_0NSndj^wd)ws52i7Qegy?P*Q&?wIs;LC3Zo;H(D%E-~by*Fdjpqg>E81;KelJ~d)1B0Mcn?U3JL`@n"
        "r+5@^Z;n0?B|rDo5%7`RSdniuiinX7pYRTbNk#-<pxZbf7s16}s%JbF>!3KmJU=_f&4N~EHrurhSlKB|"
        "&q#dL*;5Bp%~P5@(vP@2wR5y#IhuY=ErC`aj9m=){gBefJ=*GNf^I`Rjs53StOt0_c~a4MuPgN|Nkf1a"
        "s!uiuVmKD=m$cNj%|YJF2c#Swj8XMXy&;k0J;^uE#AFNsc{Wq>xaEntXGiVsNyy~?7EukYRyVS$S5X<v"
        "Ae>ET$<`aZmag8{^E+9puY1JYtc92Ji2!?UWFGrC-0(xska<Qi-9bGUh^7}}eNuNomu#Dlov<Q!3l9U{"
        "P$Ge9@d7bzuk?gzvU~geL||PUZ=;etKWQ+yEwFO3i6NB;Jg+}$KIRuZf2g$kkO}J<*$W_B91Dw(F<bX_"
        "H^u!HW$WR?|9*-oqy(*)wi3GIpZOdLYTEMBs)h-=9+rfi+=V7L%b)6-qOzI8*${iY$uvDOzRmnif5=nD"
        "V{k%Cq+CyZ>l5Y1nhZ1R%0{yn@ZShr?3S*MB1`uE*!;4i2i{B)xn-Rne%>;SVvie98m^kCo}2*K%*Jo2"
        "amHf*auIKzzu~IMM$|&}!`N)-IfK$6*4rxnBNiD_&|p#FU{#a$Kv^k#zWtH{5izK}<aFc!ZMdy~PeK@X"
        "+0u0gm+@*`<V8WWLrs5K4N*iw^Z*k(aB-9OOZmv9k^>zUCBeB67f|k6P5MCFqAqbO*ut*ss!<;Rp0@1P"
        "y=lp^S;LFOp;p|Y0}~1D<>r^J>n&kq`F`4S+f2srOUQo!V8zhu"
    )
)
DEEP = zlib.decompress(
    base64.b85decode(
        "c-muNV30{GsVvAy&8%Pmg51nBLl8SRGck>Ufw3+(wIq=N0u(b+a*CjAhJwuG5(YG&l$n#C3}U!AFfalk"
        "5HK!+&_LErAfcR@nU@CP0<kENlgb3;Wt1fwf|z^-nI*Y!CI2!DiVA@Az088-d>~y8ROZac!U1H?u>dLh"
        "|AFDp|6jit82FhJfI7q-7<m}~{|6~x2CHBOD%r*4kO-91a$;mem6*UHpfFqaYOLwm1I`YNATdc0!N`#W"
        "RL<eTc(A}AVWR@j7UAUloT9wsoC=^gF9SmZP)H=RxF8kkaR(^YNX|(FxmE${dI=Ey|Ns97K$;0i-vH4-"
        "EKrbHkqOes%*Dk8QkPkf3kzjnz_B(mF|)P+nGbVQ5`m%2cvXXOJ?kdUV>}KU^jVK={{R1e{qNWRzWpz+"
        "&xgVPC~zwO|DVF)3~@iJ`}H=TdiP{!vMm&bDkDQD_5Yjr>i_@!{(s;8_xaz;zkP?o|0wY91Ft6xYcAJk"
        "i~j%rOykqvPm3SlZ?O~j;rx)l<&*FUe?=PzC3OE;Q-jS<kA98mCs#j-ew+@4<;ut~`%dPOBhy6}i2lpJ"
        "fA;)m_n+lI<)Kiu5(UOGgxUSR^<j_w|NqI)H|DGl2-6p}3Hca&)L*hB_2P85STN-pWU1O<uxsJ%;G0*b"
        "ynOLe6$*_ck)g&Zh76JLfB*l#3@n-Q#r3)W<T&3-(<j#_|MCB5f8@U~n7X05z9Fepy={s13fIfA7cWEM"
        "n?huG#kBIFVhZ1z`3uC39Nf~t5M9~Yum9_``;s?@>!5JzVr1A@@cm7b*`Z3lYK6k;GUwv%m~(qx?@|B&"
        "gym7v"
    )
)
HDR = zlib.decompress(
    base64.b85decode(
        "c-muNV30{GsVvAy&8%Pmg51nBLl8SRGck>Ufw3+(wIq=N0u(b+a*CjAhJwuG5(YG&l$n#C3}U!AFfalk"
        "5HK!+&_LErAfcR@nU@CP0<kENlgb3;Wt1fwf|z^-nI*Y!CI2!DiVA@Az088-d>~y8ROZac!U1H?u>dLh"
        "|AFDp|6jit82FhJfI7q-7<m}~{|6~x2CHBOD%r*4kO-91a$;mem6*UHpfFqaYOLwmLoOiem>DEN1S3Zh"
        "kjLS|c(A}AVWR@j7UAUloT9wsoC*d`1_1_!2B45gW^q9()Z-3NtdX3P2y(3g)b$b|`v3p`4}dfikiG$;"
        "fmom*vmz6uk(rB&3#2ZyAQu+Oz<^_IWMXD*0Wu%vrX&JGnenOy<9gOjoX2<^Ht4e++5G?i{rcap|9$&k"
        "UY`$x|54yn{{KIP!x`d!R`=^|KK1U&&SYCC3{^&kPU`<R@zwwT`~CmE{qOU?mw)>Xh5u3D-v?e#7}i{_"
        "&ldgv|Cz?8zn>OAzTaXe@Wc5bf6FJ~6aI=e5K8F&v!(`{pC0`h(@(B`68$(G3d@y|VfLNOBS)r-E)e~f"
        "fB)?H&+b3Vf67ClY9$JcWeBtTee1&>`~UxwpKr`r9}uQ5Y7_D?_^7{RN$SPvZn0p>HONx6!C=?I+rc-l"
        "OnLd@r79E}Ng_jyQw$j*;s5^se;HUZ<%{cc|H*N_m8MUwPyXZo(f-JPVK8+=b$vrpse0QI?G>(<V=rEY"
        "!Z(G;@QP{WL&X%nH}e;W9XYtAfg!rGwO{|&Y4;^>4%b29)WyiKvEcigCbL78eANnt)n(4b-7)9(yxye%"
        "00{F@pa"
    )
)
